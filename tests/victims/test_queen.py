"""QUEEN: regions against a loop, reversed and moved answers against searches, and what it remembers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from support.defended import CPU, answers, images, small_net, victim
from training.fit import fit, predict_logits
from training.recipe import Recipe
from victims.buckets import Features
from victims.defenses.base import Perturb
from victims.defenses.queen import (
    Queen,
    QueenNetworks,
    QueenSettings,
    Region,
    contrastive,
    moved,
    opposite,
)

SETTINGS = QueenSettings(small_net, Recipe(epochs=1), 0, shadows=3)


def points(count: int) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0))


def by_a_loop(asked: Tensor, radius: float, near: float, threshold: float) -> tuple[list[bool], float]:
    """Which points are answered in reverse, and the coverage in the end, by the paper's algorithm."""
    recorded: list[np.ndarray] = []
    covered, turned = 0.0, []
    for point in asked.numpy():
        distance = float(np.linalg.norm(point))
        is_new = all(np.linalg.norm(point - other) > near * radius for other in recorded)
        sensitive = distance < radius and is_new
        turned.append(sensitive and covered > threshold)
        if sensitive and not turned[-1]:
            recorded.append(point)
            covered += (0.5 * math.erfc((distance - radius) / radius)) ** 2 * (near * radius / radius) ** 2
    return turned, covered


@pytest.mark.parametrize("sizes", [[200], [1] * 200, [7, 100, 1, 92]])
def test_regions_against_a_loop(sizes: list[int]) -> None:
    asked, region = points(200), Region(torch.zeros(2), 1.1)
    found = torch.cat([region.reverses(part, 0.1, 0.2) for part in asked.split(sizes)])
    turned, covered = by_a_loop(asked, 1.1, 0.1, 0.2)
    assert 5 < sum(turned) < 150, "the data must be such that answers change in between"
    assert found.tolist() == turned and region.covered == pytest.approx(covered)


def test_a_reversed_answer_is_the_closest_in_direction() -> None:
    y, said = answers(40, classes=4).double(), answers(40, classes=4, seed=1).double()
    wanted, found = 2 * said - y, opposite(y, said)
    assert torch.allclose(found.sum(1), torch.ones(40, dtype=torch.float64)) and (found >= 0).all()
    best = nn.functional.cosine_similarity(found, wanted)
    others = torch.rand(3000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for own, target in zip(best, wanted, strict=True):
        assert (nn.functional.cosine_similarity(others, target[None]) <= own + 1e-9).all()


def test_the_gradient_is_turned_round_where_that_is_an_answer() -> None:
    y, said = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.4, 0.35, 0.25]])
    assert torch.allclose(said - opposite(y, said), -(said - y))


def test_features_are_moved_as_far_as_the_label_stays() -> None:
    own, asked = victim().network, images(30)
    head = [it for it in own.modules() if isinstance(it, nn.Linear)][-1]
    features = predict_logits(Features(own), asked, CPU)
    way = nn.functional.normalize(torch.randn(features.shape, generator=torch.Generator().manual_seed(0)))
    found = moved(own(asked).detach().double().softmax(1), (way @ head.weight.detach().T).double())
    for feature, step, answer in zip(features, way, found, strict=True):
        kept, label = head(feature), head(feature).argmax()
        for number in range(1, 21):
            logits = head(feature + 0.05 * number * step)
            if logits.argmax() != label:
                break
            kept = logits
        assert torch.allclose(kept.softmax(0).double(), answer, atol=1e-5)


def test_the_contrastive_loss_against_its_sum() -> None:
    asked, labels = points(12), torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3])
    terms = []
    for i in range(11):
        similar = [-float((asked[i] - asked[a]).square().sum()) / 2 for a in range(12)]
        total = math.log(sum(math.exp(similar[a]) for a in range(12) if a != i))
        alike = [p for p in range(12) if p != i and labels[p] == labels[i]]
        terms.append(-sum(similar[p] - total for p in alike) / len(alike))
    assert float(contrastive(asked, labels)) == pytest.approx(sum(terms) / 11, rel=1e-5)


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Module, QueenNetworks]:
    torch.manual_seed(1)
    own = victim()
    fit(own.network, own.train.images, own.train.labels, Recipe(epochs=20), CPU, seed=0)
    made = own.trained(SETTINGS)
    assert isinstance(made, QueenNetworks)
    return own.network, made


def bound(networks: tuple[nn.Module, QueenNetworks], threshold: float, radius: float = 0.05) -> Perturb:
    own = replace(victim(network=networks[1]), network=networks[0])
    return Queen(radius, threshold, 2, SETTINGS).bind(own)


def test_at_first_every_answer_keeps_its_label(networks: tuple[nn.Module, QueenNetworks]) -> None:
    train = victim().train
    asked = train.images.float() / 255
    y = networks[0](asked).softmax(1).detach()
    changed = bound(networks, 1e9)(asked, y, 0)
    assert torch.equal(changed.argmax(1), y.argmax(1)) and not torch.equal(changed, y)
    assert torch.allclose(changed.sum(1), torch.ones(len(y)), atol=1e-5)


def test_what_was_asked_before_decides_what_is_reversed(networks: tuple[nn.Module, QueenNetworks]) -> None:
    train = victim().train
    asked = train.images.float() / 255
    y = networks[0](asked).softmax(1).detach()
    true = bound(networks, 1e9)(asked, y, 0)
    turned = (bound(networks, 0.01)(asked, y, 0) - true).abs().sum(1) > 1e-3
    assert 0 < int(turned.sum()) < len(turned) and not turned[:10].any()
    parts = bound(networks, 0.01)
    again = torch.cat([parts(asked[i : i + 100], y[i : i + 100], i) for i in (0, 100, 200)])
    assert torch.equal((again - true).abs().sum(1) > 1e-3, turned)


def test_classes_lie_apart_in_the_plane(networks: tuple[nn.Module, QueenNetworks]) -> None:
    train, (own, made) = victim().train, networks
    features = predict_logits(Features(own), train.images, CPU)
    plane = predict_logits(made.mapping, features[:, :, None, None], CPU)
    nearest = torch.cdist(plane, made.centers).argmin(1)
    assert (nearest == train.labels).double().mean() > 0.6
    assert (made.radii > 0).all()


@pytest.mark.parametrize(
    ("radius", "threshold", "models", "said"),
    [
        (0.0, 0.2, 2, "defense.queen.radius must be a number above 0, not 0.0"),
        (0.1, -1.0, 2, "defense.queen.threshold must be a number of at least 0, not -1.0"),
        (0.1, 0.2, 4, "defense.queen.models must be a whole number between 1 and 3, not 4"),
    ],
)
def test_options_out_of_range_are_refused(radius: float, threshold: float, models: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Queen(radius, threshold, models, SETTINGS)


def test_a_victim_without_a_linear_last_layer_is_refused() -> None:
    network = nn.Sequential(small_net((1, 8, 8), 10), nn.Tanh())
    with pytest.raises(ValueError, match="defense=queen needs a victim that ends with a linear layer"):
        SETTINGS.untrained(network, victim().train)
