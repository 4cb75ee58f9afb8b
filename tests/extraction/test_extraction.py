"""Attacks against plain loops, and the extraction loop: counts, accounts, refusal, resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from extraction.attacks.base import Attack, Attacker, QueryAttack
from extraction.attacks.jacobian import Jacobian, label_gradient
from extraction.attacks.knockoff import Knockoff
from extraction.attacks.standard import Standard
from extraction.checkpoint import load_checkpoint
from extraction.extract import Extraction, NothingAnswered
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transfer_set import TransferSet
from support.extracting import CPU, TruthOracle, evaluation, network, pool
from training.recipe import Hardware, Recipe
from victims.types import Answer


def attacker(substitute: nn.Module | None, known: int = 0, round: int = 1) -> Attacker:
    images = pool()
    answered = TransferSet(images.images[:known].float() / 255, images.labels[:known])
    return Attacker(images, answered, substitute, round, 3, CPU, 10)


@pytest.mark.parametrize("attack", [Standard(), Knockoff()])
def test_pool_attacks_ask_about_each_image_once(attack: QueryAttack) -> None:
    asked = torch.cat([attack.queries(attacker(None, known), 100) for known in range(0, 500, 100)])
    assert len(asked.unique(dim=0)) == len(pool().images.unique(dim=0))
    assert torch.equal(attack.queries(attacker(None), 7), attack.queries(attacker(None), 100)[:7])


def test_label_gradients_are_each_images_own() -> None:
    substitute = network((1, 8, 8), 10)
    images, labels = torch.rand(9, 1, 8, 8), torch.randint(0, 10, (9,))
    together = label_gradient(substitute, images, labels, Hardware(accelerator="cpu", batch_size=4))
    for i in range(9):
        image = images[i : i + 1].clone().requires_grad_(True)
        substitute(image)[0, labels[i]].backward()
        assert image.grad is not None
        assert torch.allclose(together[i], image.grad[0], atol=1e-6)


def test_jacobian_starts_from_the_pool_and_then_steps_along_the_sign() -> None:
    attack, substitute = Jacobian(initial=20, step=0.1), network((1, 8, 8), 10)
    assert len(attack.queries(attacker(None), 100)) == 20
    known = attacker(substitute, known=20, round=2)
    made = attack.queries(known, 100)
    assert len(made) == 20, "a round at most doubles the transfer set"
    gradient = label_gradient(substitute, known.transfer_set.images, known.transfer_set.labels, CPU)
    expected = (known.transfer_set.images + 0.1 * gradient.sign()).clamp(0, 1)
    distances = torch.cdist(made.flatten(1), expected.flatten(1))
    assert float(distances.min(1).values.max()) < 1e-3
    assert len(distances.argmin(1).unique()) == 20
    assert len(attack.queries(known, 5)) == 5
    assert made.min() >= 0
    assert made.max() <= 1


@pytest.mark.parametrize(
    ("initial", "round_size", "asked"),
    [
        (150, 100, [100, 150, 250, 350]),
        (150, 150, [150, 300, 350]),
        (150, 60, [60, 120, 150, 210, 270, 330, 350]),
        (40, 100, [40, 80, 160, 260, 350]),
    ],
)
def test_jacobian_starts_from_all_its_seeds_however_small_a_round(
    tmp_path: Path, initial: int, round_size: int, asked: list[int]
) -> None:
    """As Algorithm 1 does: the set only grows by new images once all of the first have been answered."""
    oracle = TruthOracle()
    run = extraction(tmp_path, Jacobian(initial, 0.1), budget=350, round_size=round_size)
    run.run(oracle, evaluation())
    assert [result.queries for result in run.rounds] == asked
    seen = torch.cat([batch.images for batch in oracle.batches])
    own = {tuple(row) for row in pool().images.flatten(1).tolist()}
    is_from_the_pool = [tuple(row) in own for row in (255 * seen.flatten(1)).round().int().tolist()]
    assert is_from_the_pool == [True] * initial + [False] * (350 - initial)


def extraction(path: Path, attack: Attack | None = None, **options: object) -> Extraction:
    settings = {"budget": 300, "round_size": 100, "answers": "hard", "seed": 5} | options
    substitute = SubstituteSettings(network, Recipe(epochs=5, batch_size=16, learning_rate=0.1, momentum=0.9))
    return Extraction(
        attack or Standard(),
        pool(),
        10,
        substitute,
        ExtractionSettings(**settings),  # type: ignore[arg-type]
        CPU,
        path / "checkpoint.pt",
    )


def test_counts_scores_and_accounts(tmp_path: Path) -> None:
    oracle, run = TruthOracle(), extraction(tmp_path, accounts=3)
    run.run(oracle, evaluation())
    assert [result.queries for result in run.rounds] == [100, 200, 300]
    assert sum(map(len, oracle.batches)) == 300
    assert [batch.account for batch in oracle.batches] == [0, 1, 2] * 3
    assert [batch.round for batch in oracle.batches] == [1] * 3 + [2] * 3 + [3] * 3
    assert sorted({len(batch) for batch in oracle.batches}) == [33, 34]
    assert run.rounds[-1].accuracy == run.rounds[-1].fidelity > 0.5


class Half(Standard):
    """Asks about half of what it may, rounded down: of one image about none."""

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        return super().queries(attacker, count // 2)


def test_an_attack_that_asks_nothing_more_has_ended(tmp_path: Path) -> None:
    run = extraction(tmp_path, Half(), budget=16, round_size=16)
    run.run(TruthOracle(), evaluation())
    assert [result.queries for result in run.rounds] == [8, 12, 14, 15], "one left is none for it"
    with pytest.raises(NothingAnswered):
        extraction(tmp_path / "other", Half(), budget=1, round_size=1).run(TruthOracle(), evaluation())


def test_a_refusal_keeps_the_curve_so_far(tmp_path: Path) -> None:
    run = extraction(tmp_path)
    run.run(TruthOracle(budget=250), evaluation())
    assert [result.queries for result in run.rounds] == [100, 200]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("attack", [Standard(), Jacobian(40, 0.1)])
def test_resumed_it_ends_in_the_same_weights(tmp_path: Path, attack: Attack, warm: bool) -> None:
    folders = [tmp_path / name for name in ("whole", "cut")]
    for folder in folders:
        folder.mkdir()
    whole = extraction(folders[0], attack, warm_start=warm).run(TruthOracle(), evaluation())
    cut = extraction(folders[1], attack, warm_start=warm)

    class KilledError(Exception):
        pass

    def kill(result: object) -> None:
        if len(cut.rounds) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        cut.run(TruthOracle(), evaluation(), kill)
    again = extraction(folders[1], attack, warm_start=warm)
    assert len(again.rounds) == 2
    resumed = again.run(TruthOracle(), evaluation())
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_damaged_checkpoint_is_not_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "checkpoint.pt"
    assert load_checkpoint(path, torch.device("cpu")) is None
    path.write_bytes(b"half")
    assert load_checkpoint(path, torch.device("cpu")) is None
    assert "damaged" in caplog.text


def test_transfer_sets_train_on_labels_or_on_probabilities_that_sum_to_one() -> None:
    images = torch.rand(2, 1, 8, 8)
    hard = TransferSet.empty((1, 8, 8), torch.device("cpu")).add(images, Answer(torch.tensor([3, 4])))
    assert hard.targets.tolist() == [3, 4]
    top: Tensor = torch.tensor([[0.6, 0.0, 0.2], [0.0, 0.5, 0.5]])
    soft = TransferSet.empty((1, 8, 8), torch.device("cpu")).add(images, Answer(top))
    assert torch.allclose(soft.targets, torch.tensor([[0.75, 0, 0.25], [0, 0.5, 0.5]]))
    assert len(soft.add(images, Answer(top))) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 0}, "attack.budget"),
        ({"round_size": 0}, "attack.round_size"),
        ({"accounts": 0}, "attack.accounts"),
        ({"budget": 2.5}, "attack.budget"),
        ({"answers": "loud"}, "one of soft, topk, hard"),
    ],
)
def test_settings_without_sense_are_refused(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        extraction(tmp_path, **options)  # type: ignore[arg-type]


def test_a_budget_beyond_the_pool_is_refused_unless_the_attack_makes_images() -> None:
    settings = ExtractionSettings(budget=501, round_size=100)
    with pytest.raises(ValueError, match=r"attack.budget=501.*500 images"):
        settings.check_against(Standard(), 500, 10)
    settings.check_against(Jacobian(10, 0.1), Jacobian(10, 0.1).supply(pool(), None), 10)
    with pytest.raises(ValueError, match=r"attack\.top_k=11"):
        ExtractionSettings(5, 5, answers="topk", top_k=11).check_against(Standard(), 500, 10)
