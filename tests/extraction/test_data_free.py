"""Data-free extraction: its formulas, its counts, and a small victim that is stolen without any image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from extraction.attacks.dfme import Dfme
from extraction.attacks.maze import Maze
from extraction.extract import Evaluation, Extraction
from extraction.learning.data_free import (
    DataFreeRecipe,
    Generator,
    Iterations,
    disagreement,
    estimated_gradient,
    squash,
)
from extraction.settings import ExtractionSettings, SubstituteSettings
from support.extracting import CPU, configured, evaluation, network, pool
from training.fit import fit, predict_logits
from training.recipe import Recipe
from victims.types import Answer, QueryBatch


def test_l1_recovers_the_victims_logits_but_for_their_mean() -> None:
    logits = torch.randn(6, 10, dtype=torch.float64)
    answers = logits.softmax(1)
    centred = logits - logits.mean(1, keepdim=True)
    for shift in (0.0, 0.3):
        found = disagreement(centred + shift, answers, "l1")
        assert torch.allclose(found, torch.full((6,), shift).double(), atol=1e-12)


def test_kl_against_pytorchs_own() -> None:
    logits, answers = torch.randn(6, 10).double(), torch.randn(6, 10).double().softmax(1)
    theirs = nn.functional.kl_div(logits.log_softmax(1), answers, reduction="none").sum(1)
    assert torch.allclose(disagreement(logits, answers, "kl"), theirs)
    assert disagreement(logits, torch.eye(10).double()[:6], "kl").isfinite().all()


def test_gradients_estimated_along_a_basis_are_exact_for_a_plane() -> None:
    slope, raw = torch.randn(3, 1, 2, 2).double(), torch.randn(3, 1, 2, 2).double()
    basis = torch.eye(4).double().reshape(4, 1, 1, 2, 2).expand(4, 3, 1, 2, 2)

    def objective(images: Tensor) -> Tensor:
        return (images * slope.repeat(len(images) // 3, 1, 1, 1)).flatten(1).sum(1)

    assert torch.allclose(estimated_gradient(objective, raw, basis, 1e-3), slope, atol=1e-9)


def test_gradients_estimated_along_random_directions_are_right_on_average() -> None:
    torch.manual_seed(0)
    net = network((1, 8, 8), 10).double()
    raw = torch.randn(1, 1, 8, 8).double().requires_grad_(True)
    net(raw)[:, 3].sum().backward()
    directions = torch.randn(20_000, 1, 1, 8, 8).double()
    directions /= directions.flatten(2).norm(dim=2)[:, :, None, None, None]
    with torch.no_grad():
        found = estimated_gradient(lambda images: net(images)[:, 3], raw.detach(), directions, 1e-4)
    assert raw.grad is not None
    assert torch.nn.functional.cosine_similarity(found.flatten(), raw.grad.flatten(), dim=0) > 0.98
    assert float(found.norm() / raw.grad.norm()) == pytest.approx(1, abs=0.05)


@given(st.integers(1, 5000), st.integers(2, 64), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4))
def test_iterations_ask_no_more_than_they_may(
    queries: int, batch: int, generator_steps: int, student_steps: int, directions: int
) -> None:
    recipe = DataFreeRecipe(
        batch_size=batch,
        generator_steps=generator_steps,
        student_steps=student_steps,
        directions=directions,
    )
    each = recipe.queries_per_image
    assert each == generator_steps * (1 + directions) + student_steps
    asked = each * sum(size for _, size in Iterations(queries, recipe, 0))
    assert queries - each < asked <= queries
    assert len({seed for seed, _ in Iterations(queries, recipe, 0)}) == len(Iterations(queries, recipe, 0))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (1, 9, 10)])
def test_the_generator_makes_images_of_any_shape(shape: tuple[int, int, int]) -> None:
    images = squash(Generator(shape, latent=8, width=4)(torch.randn(3, 8)))
    assert images.shape == (3, *shape)
    assert images.min() >= 0 and images.max() <= 1


class NetworkOracle:
    """Answers with a network's probabilities, and counts."""

    def __init__(self, victim: nn.Module) -> None:
        self.victim = victim
        self.asked = 0

    def query(self, batch: QueryBatch) -> Answer:
        assert batch.images.min() >= 0 and batch.images.max() <= 1
        self.asked += len(batch)
        return Answer(predict_logits(self.victim, batch.images, CPU).softmax(1))


@pytest.fixture(scope="module")
def victim() -> nn.Module:
    torch.manual_seed(2)
    net = network((1, 8, 8), 10)
    fit(net, pool().images, pool().labels, Recipe(epochs=20, batch_size=16, momentum=0.9), CPU, 0)
    return net


RECIPES = {
    Dfme: DataFreeRecipe(batch_size=64, latent=32, width=16, student_rate=0.05, generator_rate=1e-3),
    Maze: DataFreeRecipe(
        batch_size=64,
        latent=32,
        width=16,
        student_rate=0.05,
        generator_rate=1e-3,
        directions=4,
        disagreement="kl",
        replay_steps=4,
    ),
}


def extraction(kind: type[Dfme], path: Path, budget: int, round_size: int) -> Extraction:
    return Extraction(
        kind(RECIPES[kind], budget),
        pool(),
        10,
        SubstituteSettings(network, Recipe()),
        ExtractionSettings(budget=budget, round_size=round_size, warm_start=True, seed=1),
        CPU,
        path / "checkpoint.pt",
    )


def by_the_victim(victim: nn.Module) -> Evaluation:
    images = evaluation()
    labels = predict_logits(victim, images.images, CPU).argmax(1)
    return Evaluation(images.images, images.truth, labels)


@pytest.mark.parametrize("kind", [Dfme, Maze])
def test_a_victim_is_stolen_without_any_image(kind: type[Dfme], victim: nn.Module, tmp_path: Path) -> None:
    run, oracle = extraction(kind, tmp_path, budget=120_000, round_size=40_000), NetworkOracle(victim)
    run.run(oracle, by_the_victim(victim))
    assert oracle.asked == run.queries
    assert 0.999 * 120_000 < run.queries <= 120_000
    assert len(run.transfer_set) == 0
    assert run.rounds[-1].fidelity > 0.4, "ten classes: chance is 0.1"


@pytest.mark.parametrize("kind", [Dfme, Maze])
def test_resumed_it_goes_on_to_the_same_weights(kind: type[Dfme], victim: nn.Module, tmp_path: Path) -> None:
    whole = extraction(kind, tmp_path / "whole", 6000, 2000)
    cut = extraction(kind, tmp_path / "cut", 6000, 2000)
    for path in (whole.checkpoint_path, cut.checkpoint_path):
        path.parent.mkdir()

    class KilledError(Exception):
        pass

    def kill(result: object) -> None:
        if len(cut.rounds) == 2:
            raise KilledError

    whole.run(NetworkOracle(victim), by_the_victim(victim))
    with pytest.raises(KilledError):
        cut.run(NetworkOracle(victim), by_the_victim(victim), kill)
    again = extraction(kind, tmp_path / "cut", 6000, 2000)
    assert len(again.rounds) == 2
    again.run(NetworkOracle(victim), by_the_victim(victim))
    assert whole.substitute is not None and again.substitute is not None
    for a, b in zip(whole.substitute.parameters(), again.substitute.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_config_makes_them_and_labels_alone_are_refused() -> None:
    for name in ("dfme", "maze"):
        attack = configured(name)
        settings = ExtractionSettings(budget=100, round_size=100, answers="hard")
        with pytest.raises(ValueError, match=r"attack\.answers=hard is not enough .* soft answers"):
            settings.check_against(attack, attack.supply(pool(), None), 10)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"disagreement": "l3"}, "disagreement must be one of l1, kl"),
        ({"directions": 0}, "directions must be at least 1"),
        ({"epsilon": 0.0}, "epsilon must be above 0"),
        ({"replay_steps": -1}, "replay_steps must be at least 0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=rf"attack\.rule\.recipe\.{said}"):
        DataFreeRecipe(**options)  # type: ignore[arg-type]
