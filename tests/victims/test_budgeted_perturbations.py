"""MAD and ModelGuard-W: what they maximise within their budget, against enumeration and a solver."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from support.defended import CPU, answers, images, perturbed, small_net, victim
from training.fit import predict_logits
from training.seeds import seeded
from victims.architectures.build import build_network
from victims.defenses.base import kept_label
from victims.defenses.mad import Compares, Label, Mad, all_sets, label_first, leading_sets
from victims.defenses.modelguard_w import SMALLEST, ModelGuardW, most_surprising


def test_the_gradient_of_an_answer_against_autograd() -> None:
    """That of the last layer's weights is y - p times the layer's input, so its direction is y - p's."""
    network, asked, y = small_net((1, 8, 8), 10), images(5), answers(5)
    p = network(asked).softmax(1).detach()
    weight = list(network.parameters())[-2]
    for i in range(5):
        loss = -(y[i] * network(asked[i : i + 1]).log_softmax(1)[0]).sum()
        gradient = -torch.autograd.grad(loss, weight)[0]
        expected = torch.outer(y[i] - p[i], (y[i] - p[i]) @ gradient) / (y[i] - p[i]).square().sum()
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-6)


def substitutes_answers(asked: Tensor) -> Tensor:
    """What the substitute of the victim's MAD says of images."""
    train = victim().train
    with seeded(victim().seed, "surrogate"):
        substitute = build_network(small_net, train.image_shape, 10, train.images)
    return predict_logits(substitute, asked, CPU).double().softmax(1)


def deviation(y: np.ndarray, p: np.ndarray, other: np.ndarray) -> float:
    """The paper's objective, from the gradients themselves."""
    rows = np.eye(len(y)) - p  # of G, but for a factor
    u, v = rows.T @ y, rows.T @ other
    return float(np.square(u / np.linalg.norm(u) - v / np.linalg.norm(v)).sum())


def moved(y: np.ndarray, extreme: np.ndarray, epsilon: float) -> np.ndarray:
    """The published line search."""
    share: float = min(1.0, epsilon / (np.abs(extreme - y).sum() + 1e-7))
    return (1 - share) * y + share * extreme


def extreme(classes: int, chosen: list[int]) -> np.ndarray:
    found = np.zeros(classes)
    found[chosen] = 1 / len(chosen)
    return found


@pytest.mark.parametrize("label", ["kept", "free"])
@pytest.mark.parametrize("epsilon", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("compares", ["answers", "extremes"])
def test_mad_turns_the_gradient_as_far_as_any_way_to_an_extreme(
    label: Label, epsilon: float, compares: Compares
) -> None:
    probabilities, asked = answers(15), images(15)
    y, p = probabilities.double().numpy(), substitutes_answers(asked).numpy()
    defense = Mad(epsilon, label, small_net, compares)
    changed = perturbed(defense, probabilities, asked).double().numpy()
    assert np.abs(changed - y).sum(1).max() <= epsilon + 1e-5
    for i in range(15):
        top = int(y[i].argmax())
        sets = [[k] for k in range(10)]
        if label == "kept":
            others = [k for k in range(10) if k != top]
            sets = [[top, *more] for size in range(10) for more in combinations(others, size)]
        extremes = [extreme(10, chosen) for chosen in sets]
        ways = [moved(y[i], end, epsilon) for end in extremes]
        compared = ways if compares == "answers" else extremes
        best = ways[int(np.argmax([deviation(y[i], p[i], other) for other in compared]))]
        expected = deviation(y[i], p[i], best)
        assert deviation(y[i], p[i], changed[i]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def published(y: np.ndarray, p: np.ndarray, epsilon: float) -> float:
    """What the published search for many classes reaches: the extreme first, and then the way there."""
    classes, chosen, tried = len(y), [int(y.argmax())], 0
    best, star = -1.0, y
    while tried < 1024 and len(chosen) < classes:
        left = [k for k in range(classes) if k not in chosen]
        values = [deviation(y, p, extreme(classes, [*chosen, k])) for k in left]
        chosen.append(left[int(np.argmax(values))])
        tried += len(left)
        if max(values) > best:
            best, star = max(values), extreme(classes, chosen)
    return deviation(y, p, moved(y, star, epsilon))


@pytest.mark.parametrize("classes", [12, 100])
@pytest.mark.parametrize("sharpness", [0.5, 8.0])
@pytest.mark.parametrize("epsilon", [0.3, 1.0, 2.0])
def test_of_many_classes_mad_turns_no_less_than_the_published_search(
    classes: int, sharpness: float, epsilon: float
) -> None:
    random = torch.Generator().manual_seed(1)
    y = (sharpness * torch.randn(3, classes, generator=random)).double().softmax(1)
    p = (0.3 * torch.randn(3, classes, generator=random)).double().softmax(1)
    changed = Mad(epsilon, "kept", small_net).turned(y, p)
    assert torch.equal(kept_label(changed, y).argmax(1), y.argmax(1))
    for own, substitutes, other in zip(y.numpy(), p.numpy(), changed.numpy(), strict=True):
        reached = published(own, substitutes, epsilon)
        assert deviation(own, substitutes, other) >= reached - 1e-4 and reached > 0
    as_published = Mad(epsilon, "kept", small_net, "extremes").turned(y, p)
    for own, substitutes, other in zip(y.numpy(), p.numpy(), as_published.numpy(), strict=True):
        assert deviation(own, substitutes, other) == pytest.approx(published(own, substitutes, epsilon), 1e-6)


@pytest.mark.parametrize("classes", [10, 12])
def test_answers_do_not_depend_on_who_else_asks(classes: int) -> None:
    y, p = answers(40, classes).double(), answers(40, classes, seed=1).double()
    defense = Mad(1.0, "kept", small_net)
    alone = torch.cat([defense.turned(y[i : i + 1], p[i : i + 1]) for i in range(40)])
    assert torch.allclose(defense.turned(y, p), alone, atol=1e-12)


def test_sets_that_hold_the_first_class_are_all_there_once() -> None:
    sets = all_sets(4, torch.device("cpu"))
    assert (sets[:, 0] > 0).all() and len(sets.unique(dim=0)) == len(sets) == 8
    assert torch.allclose(sets.sum(1), torch.ones(8, dtype=torch.float64))


def test_the_label_comes_first_and_the_others_in_their_order() -> None:
    y = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
    assert label_first(y).tolist() == [[2, 0, 1], [0, 1, 2], [1, 0, 2]]


def test_of_many_classes_each_size_has_the_least_inner_product() -> None:
    y, p = answers(6, classes=12).double(), answers(6, classes=12, seed=1).double()
    sets = leading_sets(y, p)
    rows = torch.eye(12, dtype=torch.float64) - p[:, None]
    for i in range(6):
        top, own = int(y[i].argmax()), y[i] @ rows[i] @ rows[i].T
        for size in range(12):
            others = [k for k in range(12) if k != top]
            inner = min(float(own[[top, *more]].mean()) for more in combinations(others, size))
            assert float(own @ sets[i, size]) == pytest.approx(inner, abs=1e-12)


def solved(y: np.ndarray, epsilon: float) -> float:
    """The linear program's optimum by a solver; variables are the answer and the distances of its entries."""
    classes, label = len(y), int(y.argmax())
    unit, none = np.eye(classes), np.zeros((classes, classes))
    lead = np.delete(unit - unit[label], label, axis=0)
    budget = np.concatenate([np.zeros(classes), np.ones(classes)])[None]
    upper = np.concatenate(
        [np.hstack([unit, -unit]), np.hstack([-unit, -unit]), budget, np.hstack([lead, none[1:]])]
    )
    bounds = np.concatenate([y, -y, [epsilon], np.zeros(classes - 1)])
    worth = np.concatenate([-np.log(y + SMALLEST), np.zeros(classes)])
    sums = np.concatenate([np.ones(classes), np.zeros(classes)])[None]
    solution = linprog(-worth, A_ub=upper, b_ub=bounds, A_eq=sums, b_eq=[1.0], bounds=(0, None))
    assert solution.success
    return -float(solution.fun)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.6, 1.0, 1.7, 2.0])
def test_modelguard_w_solves_its_linear_program(classes: int, epsilon: float) -> None:
    sharp = torch.cat([answers(20, classes), torch.eye(classes), torch.full((1, classes), 1 / classes)])
    y = sharp.double() / sharp.double().sum(1, keepdim=True)
    chosen = most_surprising(y, epsilon)
    assert float(chosen.min()) >= -1e-12
    assert torch.allclose(chosen.sum(1), torch.ones(len(y), dtype=torch.float64))
    assert float((chosen - y).abs().sum(1).max()) <= epsilon + 1e-9
    lead = chosen.gather(1, y.argmax(1, keepdim=True)) - chosen
    assert float(lead.min()) >= -1e-12
    values = (-(y + SMALLEST).log() * chosen).sum(1)
    assert values.tolist() == pytest.approx([solved(row, epsilon) for row in y.numpy()], abs=1e-6)


def test_modelguard_w_gives_a_sure_answers_mass_to_the_least_likely_class() -> None:
    y = torch.tensor([[0.9, 0.07, 0.03]])
    changed = perturbed(ModelGuardW(0.4), y, images(1))
    assert changed[0].tolist() == pytest.approx([0.7, 0.07, 0.23], abs=1e-6)
