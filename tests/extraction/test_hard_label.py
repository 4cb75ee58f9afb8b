"""DFMS-HL: its losses against sums, its shapes, what a step trains, and what a killed extraction keeps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from extraction.attacks.dfms_hl import DfmsHl
from extraction.extract import Extraction
from extraction.learning.data_free import DataFreeRecipe, Generator, Iterations
from extraction.learning.hard_label import (
    Adversary,
    adversarial_loss,
    class_diversity,
    make_discriminator,
)
from extraction.learning.loops.hard_label import HardLabelLoop
from extraction.learning.shapes import random_shapes
from extraction.settings import ExtractionSettings, SubstituteSettings
from support.extracting import CPU, TruthOracle, evaluation, network, pool
from training.recipe import Recipe
from training.trainer import make_trainer, run_trainer

RECIPE = DataFreeRecipe(
    batch_size=64,
    latent=16,
    width=8,
    student_rate=0.05,
    generator_rate=1e-3,
    student_steps=1,
    directions=0,
    replay_steps=2,
)


def shapes(count: int, random: torch.Generator) -> Tensor:
    return random_shapes((1, 8, 8), count, random)


def test_the_losses_against_sums() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    mean = [sum(float(row.softmax(0)[k]) for row in logits) / 6 for k in range(4)]
    assert float(class_diversity(logits)) == pytest.approx(sum(p * math.log(p) for p in mean), abs=1e-4)
    told = torch.tensor([[0.3], [-1.0]])
    expected = [sum(math.log(1 + math.exp(sign * x)) for x in (0.3, -1.0)) / 2 for sign in (-1, 1)]
    found = [float(adversarial_loss(told, is_proxy)) for is_proxy in (True, False)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 11)])
def test_shapes_are_images_of_all_kinds(shape: tuple[int, int, int]) -> None:
    images = random_shapes(shape, 400, torch.Generator().manual_seed(0))
    assert images.shape == (400, *shape) and images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, random_shapes(shape, 400, torch.Generator().manual_seed(0)))
    spread = images.flatten(1).std(1)
    assert spread.min() >= 0 and float(spread.mean()) > 0.1
    edges = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().flatten(1) > 0.05
    assert 0.1 < float((edges.double().mean(1) < 0.3).double().mean()) < 0.9, "some plain, some noisy"


def loop(diversity: float, pretraining: int) -> HardLabelLoop:
    torch.manual_seed(0)
    adversary = Adversary(
        network((1, 8, 8), 10), make_discriminator((1, 8, 8), 8), shapes, diversity, pretraining, 0
    )

    def victim(images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10].argmax(1)

    return HardLabelLoop(adversary, Generator((1, 8, 8), 16, 8), victim, RECIPE)


def weights(module: nn.Module) -> Tensor:
    return torch.cat([it.detach().flatten() for it in module.parameters()])


def test_the_gan_learns_alone_at_first_and_all_three_afterwards() -> None:
    trained = loop(diversity=5.0, pretraining=3)
    parts = (trained._adversary.clone, trained._adversary.discriminator, trained.generator)
    before = [weights(part) for part in parts]
    run_trainer(make_trainer(CPU, epochs=1), trained.train(), Iterations(0, RECIPE, 0))
    run_trainer(make_trainer(CPU, epochs=1), trained.train(), Iterations(64 * 2, RECIPE, 0))
    assert not any(torch.equal(old, weights(part)) for old, part in zip(before, parts, strict=True))
    assert trained.queries == 128


def test_diversity_spreads_the_images_over_the_clones_classes() -> None:
    entropies = {}
    for weight in (0.0, 20.0):
        trained = loop(weight, pretraining=0)
        first = next(trained._adversary.clone.parameters())
        torch.nn.init.normal_(first, std=0.5)
        trained._train_student = lambda images, answers: None  # type: ignore[method-assign]
        run_trainer(make_trainer(CPU, epochs=1), trained.train(), Iterations(64 * 60, RECIPE, 0))
        latent = torch.randn(256, 16, generator=torch.Generator().manual_seed(1))
        images = trained._images(trained.generator.eval()(latent))
        entropies[weight] = -float(class_diversity(trained._adversary.eval()(images)))
    assert entropies[20.0] > entropies[0.0]


def extraction(path: Path, budget: int, recipe: DataFreeRecipe = RECIPE, **options: Any) -> Extraction:
    attack = DfmsHl(recipe, budget, **({"pretraining": 40} | options))
    settings = ExtractionSettings(budget, 640, answers="hard", warm_start=True)
    return Extraction(attack, pool(), 10, SubstituteSettings(network, Recipe()), settings, CPU, path)


@pytest.mark.parametrize("proxy", [pytest.param("shapes", marks=pytest.mark.slow), "pool"])
def test_a_killed_extraction_goes_on_as_it_would_have(tmp_path: Path, proxy: str) -> None:
    whole = extraction(tmp_path / "whole", 1280, proxy=proxy)
    expected = weights(whole.run(TruthOracle(), evaluation()))
    oracle = TruthOracle(budget=640)
    extraction(tmp_path / "cut", 1280, proxy=proxy).run(oracle, evaluation())
    oracle.budget = 1280
    cut = extraction(tmp_path / "cut", 1280, proxy=proxy)
    assert torch.equal(weights(cut.run(oracle, evaluation())), expected)
    assert cut.rounds[-1].accuracy > 0.18, "ten classes: chance is 0.1"
    assert sum(map(len, oracle.batches)) == 1280, "each image is one query, and the generator asks nothing"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"proxy": "noise"}, "proxy must be one of shapes, pool, not 'noise'"),
        ({"diversity": -1}, "diversity must be a number of at least 0, not -1"),
        ({"pretraining": 1.5}, "pretraining must be a whole number of at least 0, not 1.5"),
        ({"recipe": DataFreeRecipe()}, r"recipe\.directions must be 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    sensible: dict[str, Any] = {"recipe": RECIPE, "budget": 100}
    with pytest.raises(ValueError, match=rf"attack\.rule\.{said}"):
        DfmsHl(**sensible | options)
