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
from victims.defenses.mad import Label, Mad, all_sets, gram, label_first, leading_sets, within
from victims.defenses.modelguard_w import SMALLEST, ModelGuardW, most_surprising


def test_inner_products_of_gradients_against_autograd() -> None:
    """Up to a factor of each sample's own, the square of the norm of the last layer's input."""
    network, asked = small_net((1, 8, 8), 10), images(5)
    products = gram(network(asked).softmax(1).detach())
    weight = list(network.parameters())[-2]
    for i in range(5):
        log_probs = network(asked[i : i + 1]).log_softmax(1)[0]
        rows = torch.stack(
            [torch.autograd.grad(value, weight, retain_graph=True)[0].flatten() for value in log_probs]
        )
        expected = rows @ rows.T
        assert torch.allclose(
            products[i] * expected[0, 0] / products[i, 0, 0], expected, rtol=1e-3, atol=1e-6
        )


def substitutes_answers(asked: Tensor) -> Tensor:
    """What the substitute of the victim's MAD says of images."""
    train = victim().train
    with seeded(victim().seed, "surrogate"):
        substitute = build_network(small_net, train.image_shape, 10, train.images)
    return predict_logits(substitute, asked, CPU).double().softmax(1)


def deviation(rows: Tensor, y: Tensor, other: Tensor) -> float:
    u, v = rows.T @ y, rows.T @ other
    return float((u / u.norm() - v / v.norm()).square().sum())


@pytest.mark.parametrize("label", ["kept", "free"])
def test_the_extreme_is_the_one_that_turns_the_gradient_most(label: Label) -> None:
    probabilities, asked = answers(25), images(25)
    y, p = probabilities.double(), substitutes_answers(asked)
    rows = torch.eye(10, dtype=torch.float64) - p[:, None, :]  # of G, but for a factor
    found = Mad(2.0, label, small_net).extreme(y, p)
    for i in range(25):
        top = int(y[i].argmax())
        sets = [[k] for k in range(10)]
        if label == "kept":
            others = [k for k in range(10) if k != top]
            sets = [[top, *more] for size in range(10) for more in combinations(others, size)]
        extremes = [
            torch.zeros(10, dtype=torch.float64).index_fill(0, torch.tensor(s), 1 / len(s)) for s in sets
        ]
        best = max(deviation(rows[i], y[i], extreme) for extreme in extremes)
        assert deviation(rows[i], y[i], found[i]) == pytest.approx(best, abs=1e-9)


def test_sets_that_hold_the_first_class_are_all_there_once() -> None:
    sets = all_sets(4, torch.device("cpu"))
    assert (sets[:, 0] > 0).all() and len(sets.unique(dim=0)) == len(sets) == 8
    assert torch.allclose(sets.sum(1), torch.ones(8, dtype=torch.float64))


def test_the_label_comes_first_and_the_others_in_their_order() -> None:
    y = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
    assert label_first(y).tolist() == [[2, 0, 1], [0, 1, 2], [1, 0, 2]]


def test_of_many_classes_each_size_has_the_least_inner_product() -> None:
    y = answers(6, classes=12).double()
    products = gram(answers(6, classes=12, seed=1).double())
    sets = leading_sets(y, products)
    for i in range(6):
        top, own = int(y[i].argmax()), y[i] @ products[i]
        for size in range(12):
            others = [k for k in range(12) if k != top]
            inner = min(float(own[[top, *more]].mean()) for more in combinations(others, size))
            assert float(own @ sets[i, size]) == pytest.approx(inner, abs=1e-12)


@pytest.mark.parametrize("label", ["kept", "free"])
@pytest.mark.parametrize("epsilon", [0.3, 1.0, 2.0])
def test_mad_moves_towards_its_extreme_within_the_budget(label: Label, epsilon: float) -> None:
    probabilities, asked = answers(60), images(60)
    defense = Mad(epsilon, label, small_net)
    changed = perturbed(defense, probabilities, asked).double()
    y = probabilities.double()
    moved = (changed - y).abs().sum(1)
    assert float(moved.max()) <= epsilon + 1e-5
    extreme = defense.extreme(y, substitutes_answers(asked))
    whole = (extreme - y).abs().sum(1)
    assert torch.allclose(moved, whole.clamp_max(epsilon), atol=1e-5), (
        "the whole budget, where there is a way"
    )
    assert torch.allclose(changed, within(y, extreme, epsilon), atol=1e-5)


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
