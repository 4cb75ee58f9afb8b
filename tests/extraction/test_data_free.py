"""Data-free extraction: its formulas, its counts, and a small victim that is stolen without any image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from extraction.attacks.dfme import Dfme, Schedule
from extraction.attacks.disguide import Disguide
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
from extraction.learning.loops.data_free import DataFree
from extraction.settings import ExtractionSettings, SubstituteSettings
from support.data_free import RECIPES
from support.extracting import CPU, configured, evaluation, network, pool
from training.fit import fit, predict_logits
from training.recipe import Recipe
from training.trainer import make_trainer, run_trainer
from victims.types import Answer, AnswerKind, QueryBatch


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


@given(
    st.integers(1, 5000),
    st.integers(2, 64),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
)
def test_iterations_ask_no_more_than_they_may(
    queries: int, batch: int, generator_steps: int, student_steps: int, directions: int, reuse: bool
) -> None:
    recipe = DataFreeRecipe(
        batch_size=batch,
        generator_steps=generator_steps,
        student_steps=student_steps,
        directions=directions,
        reuse=reuse,
    )
    each = recipe.queries_per_image
    assert each == generator_steps * (1 + directions) + student_steps - reuse
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

    def __init__(self, victim: nn.Module, hard: bool = False) -> None:
        self.victim, self.hard = victim, hard
        self.asked = 0

    def query(self, batch: QueryBatch) -> Answer:
        assert batch.images.min() >= 0 and batch.images.max() <= 1
        self.asked += len(batch)
        probabilities = predict_logits(self.victim, batch.images, CPU).softmax(1)
        return Answer(probabilities.argmax(1) if self.hard else probabilities)


@pytest.fixture(scope="module")
def victim() -> nn.Module:
    torch.manual_seed(2)
    net = network((1, 8, 8), 10)
    fit(net, pool().images, pool().labels, Recipe(epochs=20, batch_size=16, momentum=0.9), CPU, 0)
    return net


def extraction(
    kind: type[Dfme], path: Path, budget: int, round_size: int, answers: AnswerKind = "soft"
) -> Extraction:
    return Extraction(
        kind(RECIPES[kind], budget),
        pool(),
        10,
        SubstituteSettings(network, Recipe()),
        ExtractionSettings(budget=budget, round_size=round_size, answers=answers, warm_start=True, seed=1),
        CPU,
        path / "checkpoint.pt",
    )


def by_the_victim(victim: nn.Module) -> Evaluation:
    images = evaluation()
    labels = predict_logits(victim, images.images, CPU).argmax(1)
    return Evaluation(images.images, images.truth, labels)


@pytest.mark.parametrize(
    ("kind", "budget"),
    [
        pytest.param(Dfme, 120_000, marks=pytest.mark.slow),
        pytest.param(Maze, 120_000, marks=pytest.mark.slow),
        (Disguide, 9_000),
    ],
)
def test_a_victim_is_stolen_without_any_image(
    kind: type[Dfme], budget: int, victim: nn.Module, tmp_path: Path
) -> None:
    run, oracle = extraction(kind, tmp_path, budget, budget // 3), NetworkOracle(victim)
    run.run(oracle, by_the_victim(victim))
    assert oracle.asked == run.queries
    assert 0.999 * budget < run.queries <= budget
    assert len(run.transfer_set) == 0
    assert run.rounds[-1].fidelity > 0.4, "ten classes: chance is 0.1"


@pytest.mark.slow  # a whole extraction
def test_disguide_steals_with_labels_alone(victim: nn.Module, tmp_path: Path) -> None:
    run = extraction(Disguide, tmp_path, budget=9_000, round_size=4_500, answers="hard")
    oracle = NetworkOracle(victim, hard=True)
    run.run(oracle, by_the_victim(victim))
    assert oracle.asked == run.queries
    assert run.rounds[-1].fidelity > 0.3, "ten classes: chance is 0.1"


@pytest.mark.parametrize("kind", [Dfme, Maze, Disguide])
def test_resumed_it_goes_on_to_the_same_weights(kind: type[Dfme], victim: nn.Module, tmp_path: Path) -> None:
    sizes = (1500, 500) if kind is Disguide else (6000, 2000)
    whole = extraction(kind, tmp_path / "whole", *sizes)
    cut = extraction(kind, tmp_path / "cut", *sizes)
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
    again = extraction(kind, tmp_path / "cut", *sizes)
    assert len(again.rounds) == 2
    again.run(NetworkOracle(victim), by_the_victim(victim))
    assert whole.substitute is not None and again.substitute is not None
    for a, b in zip(whole.substitute.parameters(), again.substitute.parameters(), strict=True):
        assert torch.equal(a, b)


def published_rates(schedule: Schedule, first: float, iterations: int) -> list[float]:
    """The learning rate of each iteration by PyTorch's own schedulers, as the authors set them."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=first)
    if schedule == "cosine":
        scheduler: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    else:
        milestones = [int(share * iterations) for share in (0.1, 0.3, 0.5)]
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.3)
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("kind", "schedule"), [(Dfme, "steps"), (Maze, "cosine")])
def test_both_rates_fall_as_published(
    kind: type[Dfme], schedule: Schedule, victim: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds that are no whole milestones, and a budget of twenty iterations."""
    seen: list[list[float]] = []
    own_step = DataFree._generator_step

    def step(module: DataFree, count: int) -> None:
        seen.append([optimizer.param_groups[0]["lr"] for optimizer in module._optimizers()])
        own_step(module, count)

    monkeypatch.setattr(DataFree, "_generator_step", step)
    each = 64 * RECIPES[kind].queries_per_image
    run = extraction(kind, tmp_path, budget=20 * each, round_size=7 * each)
    assert isinstance(run.attack, Dfme)
    run.attack.schedule = schedule
    run.run(NetworkOracle(victim), by_the_victim(victim))
    students, generators = zip(*seen, strict=True)
    assert students == pytest.approx(published_rates(schedule, 0.05, 20))
    assert generators == pytest.approx(published_rates(schedule, 1e-3, 20))


def test_each_has_its_authors_optimisers_and_sizes() -> None:
    found = {}
    for name in ("dfme", "maze"):
        attack = configured(name)
        assert isinstance(attack, Dfme)
        module = DataFree(nn.Linear(1, 1), Generator((1, 8, 8), 2, 2), lambda it: it, attack.recipe)
        found[name] = [
            (type(optimizer), optimizer.defaults["lr"], optimizer.defaults.get("momentum"))
            for optimizer in module.configure_optimizers()
        ]
    student = (torch.optim.SGD, 0.1, 0.9)
    assert found == {
        "dfme": [student, (torch.optim.Adam, 1e-4, None)],
        "maze": [student, (torch.optim.SGD, 1e-4, 0.9)],
    }


def test_all_answers_of_the_students_steps_are_kept_for_the_replay(victim: nn.Module, tmp_path: Path) -> None:
    each = RECIPES[Maze].queries_per_image
    run, oracle = extraction(Maze, tmp_path, 64 * each * 12, 64 * each * 4), NetworkOracle(victim)
    run.run(oracle, by_the_victim(victim))
    assert isinstance(run.attack, Maze)
    replay = run.attack.replay
    assert len(replay) == 12 * 64 * RECIPES[Maze].student_steps, "those of 12 iterations, and of all rounds"
    answers = predict_logits(victim, replay.images[: len(replay)].float(), CPU).softmax(1)
    assert torch.allclose(answers, replay.answers[: len(replay)], atol=0.01), (
        "half a point for half precision"
    )


def test_reused_images_are_not_asked_about_again(victim: nn.Module) -> None:
    asked: list[Tensor] = []

    def ask(images: Tensor) -> Tensor:
        asked.append(images)
        return predict_logits(victim, images, CPU).softmax(1)

    module = DataFree(network((1, 8, 8), 10), Generator((1, 8, 8), 32, 16), ask, RECIPES[Maze])
    trainer = make_trainer(CPU, epochs=1)
    run_trainer(trainer, module.train(), Iterations(64 * RECIPES[Maze].queries_per_image, RECIPES[Maze], 0))
    assert [len(images) for images in asked] == [5 * 64, *[64] * 4], "one estimate, and four steps of five"
    assert torch.equal(module.replay.images[:64], asked[0][:64].half())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"schedule": "warm"}, "schedule must be one of steps, cosine, not 'warm'"),
        ({"milestones": (0.1, 3)}, r"milestones.* must be a number between 0 and 1, not 3"),
        ({"decay": 0}, "decay must be a number above 0 and at most 1, not 0"),
    ],
)
def test_wrong_schedules_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"attack\.rule\.{said}"):
        Dfme(DataFreeRecipe(), 100, **options)


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
        ({"directions": -1}, "directions must be a whole number of at least 0"),
        (
            {"directions": 0, "reuse": True},
            r"reuse=true needs .*\.directions of at least 1",
        ),
        ({"epsilon": 0.0}, "epsilon must be a number above 0"),
        ({"replay_steps": -1}, "replay_steps must be a whole number of at least 0"),
        ({"replay_size": 0}, "replay_size must be a whole number of at least 1 or null, not 0"),
        ({"generator_optimizer": "lion"}, "generator_optimizer must be one of sgd, adam"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=rf"attack\.rule\.recipe\.{said}"):
        DataFreeRecipe(**options)  # type: ignore[arg-type]
