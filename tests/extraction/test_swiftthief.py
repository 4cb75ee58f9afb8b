"""SwiftThief: its losses against sums over pairs, its views, which images it asks about, what it keeps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from extraction.attacks.base import Attacker
from extraction.attacks.k_center import features
from extraction.attacks.swiftthief import SwiftThief
from extraction.extract import Extraction
from extraction.learning.contrastive import (
    ContrastiveRecipe,
    Heads,
    class_weights,
    similarity,
    soft_similarity,
    views,
)
from extraction.learning.loops.contrastive import Contrastive
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transfer_set import TransferSet
from support.extracting import CPU, TruthOracle, evaluation, network, pool
from training.recipe import Recipe
from victims.types import Answer

RECIPE = ContrastiveRecipe(steps=8, batch_size=32, width=16)


def cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def test_the_loss_of_asked_images_against_a_sum_over_pairs() -> None:
    random = torch.Generator().manual_seed(0)
    p, z = torch.randn(6, 5, generator=random), torch.randn(6, 5, generator=random)
    answers = torch.randn(6, 4, generator=random).softmax(1)
    sure = [1 + float((row * row.log()).sum()) / math.log(4) for row in answers]
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    terms = [-sure[i] * sure[j] * cosine(answers[i], answers[j]) * cosine(p[i], z[j]) for i, j in pairs]
    assert float(soft_similarity(p, z, answers)) == pytest.approx(np.mean(terms), abs=1e-5)
    labels = nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 1, 2]), 4).float()
    alike = [(i, j) for i, j in pairs if torch.equal(labels[i], labels[j])]
    expected = np.mean([-cosine(p[i], z[j]) for i, j in alike])
    assert float(soft_similarity(p, z, labels)) == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_two_views_and_the_weights_of_classes() -> None:
    p, z = torch.randn(4, 3), torch.randn(4, 3)
    assert float(similarity(p, z)) == pytest.approx(-np.mean([cosine(*it) for it in zip(p, z, strict=True)]))
    found = class_weights(torch.tensor([0, 0, 0, 1]), 3)
    costs = [0.01 / (1 - 0.99 ** (count + 1)) for count in (3, 1, 0)]
    assert found.tolist() == pytest.approx([cost / sum(costs) for cost in costs])


@pytest.mark.parametrize("flip", [False, True])
def test_views_show_parts_of_their_own_image(flip: bool) -> None:
    images = torch.rand(200, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    images[100:] = 1.0
    seen = views(images, 0.3, flip, torch.Generator().manual_seed(1))
    assert seen.shape == images.shape and seen.min() >= 0 and seen.max() <= 1
    assert (seen[100:].flatten(1).std(1) < 1e-6).all(), "a plain image stays plain"
    assert torch.equal(seen, views(images, 0.3, flip, torch.Generator().manual_seed(1)))
    slope = torch.linspace(0, 1, 12).expand(200, 1, 12, 12)
    rises = views(slope, 0.9, flip, torch.Generator().manual_seed(2)).diff(dim=3).mean((1, 2, 3)) > 0
    assert bool(rises.all()) != flip and bool(rises.any())


def test_the_adversary_takes_views_away_from_each_other() -> None:
    torch.manual_seed(0)
    net = network((1, 8, 8), 10)
    last = list(net.modules())[-1]
    assert isinstance(last, nn.Linear)
    module = Contrastive(net, last, Heads(32, 16), RECIPE, torch.ones(10)).eval()
    one, two = torch.rand(64, 1, 8, 8), torch.rand(64, 1, 8, 8)
    attacked = module._attacked(one, two)
    assert float((attacked - one).abs().max()) == pytest.approx(0.01, rel=1e-3)
    assert float(module.eval()._both(attacked, two)) > float(module._both(one, two))


def test_contrast_brings_images_of_a_class_together(tmp_path: Path) -> None:
    run = extraction(tmp_path / "c", 160, ContrastiveRecipe(steps=60, batch_size=64, width=16, smallest=0.6))
    trained = run.run(TruthOracle(), evaluation())
    unit = nn.functional.normalize(features(trained, pool().images, CPU))
    same = pool().labels[:, None] == pool().labels
    angles = unit @ unit.T
    assert float(angles[same].mean()) > float(angles[~same].mean()) + 0.1


def extraction(path: Path, budget: int, recipe: ContrastiveRecipe = RECIPE) -> Extraction:
    settings = ExtractionSettings(budget, 80, answers="hard", warm_start=True)
    substitute = SubstituteSettings(network, Recipe(epochs=5, batch_size=16, learning_rate=0.1))
    return Extraction(SwiftThief(recipe, budget), pool(), 10, substitute, settings, CPU, path)


def weights(module: nn.Module) -> Tensor:
    return torch.cat([it.detach().flatten() for it in module.parameters()])


def test_a_killed_extraction_goes_on_as_it_would_have(tmp_path: Path) -> None:
    oracle = TruthOracle()
    expected = weights(extraction(tmp_path / "whole", 240).run(oracle, evaluation()))
    asked = torch.cat([batch.images for batch in oracle.batches])
    again = TruthOracle(budget=160)
    extraction(tmp_path / "cut", 240).run(again, evaluation())
    again.budget = 240
    cut = extraction(tmp_path / "cut", 240)
    assert torch.equal(weights(cut.run(again, evaluation())), expected)
    assert torch.equal(torch.cat([batch.images for batch in again.batches]), asked)
    assert len(asked) == len(asked.flatten(1).unique(dim=0)) == 240, "no image twice, but for equal ones"


def attacker(attack: SwiftThief) -> Attacker:
    torch.manual_seed(0)
    return Attacker(pool(), TransferSet.empty((1, 8, 8), CPU.device), network((1, 8, 8), 10), 2, 0, CPU, 10)


def test_the_rest_of_the_budget_fills_up_rare_classes() -> None:
    attack = SwiftThief(RECIPE, budget=200)
    attack.labels = torch.tensor([0] * 90 + [1] * 10 + [2] * 50)
    attack.asked = torch.arange(150)
    rare = 15 * 8 - 10  # eight classes of ten lie below the mean of 15: what they lack
    attack.budget = 150 + rare
    assert attack._fills_up(attacker(attack))
    attack.budget += 1
    assert not attack._fills_up(attacker(attack))
    assert attack._rarest(attacker(attack)) == 1, "of those with any"


def test_it_chooses_close_to_the_rarest_class() -> None:
    attack = SwiftThief(RECIPE, budget=151, bandwidth=0.7)
    attack.labels, attack.asked = pool().labels[:150].clone(), torch.arange(150)
    attack.labels[attack.labels == 3] = 4
    attack.labels[:5] = 3
    left = torch.arange(150, 500)
    who = attacker(attack)
    chosen = attack.choose(who, left, 10)
    assert who.substitute is not None
    seen = features(who.substitute, pool().images, CPU)
    density = [
        sum(math.exp(-float((seen[i] - seen[j]).square().sum()) / (2 * 0.7**2)) for j in range(5))
        for i in left.tolist()
    ]
    assert chosen[:10].tolist() == np.argsort(density)[::-1][:10].tolist()


def test_a_round_that_fills_up_asks_in_parts() -> None:
    attack = SwiftThief(RECIPE, budget=160, parts=4)
    attack.labels, attack.asked = pool().labels[:150].clone(), torch.arange(150)
    attack.labels[attack.labels == 3] = 4
    sizes = []

    def ask(images: Tensor) -> Answer:
        sizes.append(len(images))
        return Answer(torch.full((len(images),), 3))

    attack.run_round(attacker(attack), ask, 10)
    assert sizes == [2, 3, 2, 3] and len(attack.labels) == 160


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bandwidth": 0.0}, r"attack\.rule\.bandwidth must be a number above 0, not 0\.0"),
        ({"parts": 0}, r"attack\.rule\.parts must be a whole number of at least 1, not 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SwiftThief(RECIPE, 100, **options)
    with pytest.raises(
        ValueError, match=r"attack\.rule\.recipe\.smallest must be a number above 0 and at most 1, not 0"
    ):
        ContrastiveRecipe(smallest=0)
    with pytest.raises(ValueError, match="needs a substitute that ends with a linear layer"):
        SwiftThief(RECIPE, 100).check_substitute(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)))
