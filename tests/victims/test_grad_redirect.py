"""Gradient redirection: its linear program against a solver, its slopes against autograd, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from support.defended import answers, images, perturbed, small_net, victim
from training.fit import predict_logits
from training.recipe import Recipe
from victims.defenses.grad_redirect import GradRedirect, Layers, SurrogateSettings, redirected, slopes

SETTINGS = SurrogateSettings(small_net, Recipe(epochs=2), 0)


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(27, 10)).eval()


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0, 2.0])
def test_the_program_against_a_solver(epsilon: float) -> None:
    y = answers(12, classes=6).double()
    y = y / y.sum(1, keepdim=True)
    worth = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    changed = redirected(y, worth, epsilon)
    assert (changed >= 0).all() and torch.allclose(changed.sum(1), y.sum(1))
    assert ((changed - y).abs().sum(1) <= epsilon + 1e-9).all()
    eye = np.eye(6)  # y' = y + up - down, up + down within epsilon in all
    for own, gain, found in zip(y.numpy(), worth.numpy(), changed.numpy(), strict=True):
        solved = linprog(
            np.concatenate([-gain, gain]),
            A_ub=np.vstack([np.hstack([-eye, eye]), np.ones((1, 12))]),
            b_ub=np.concatenate([own, [epsilon]]),
            A_eq=np.concatenate([np.ones(6), -np.ones(6)])[None],
            b_eq=[0],
        )
        assert gain @ (found - own) == pytest.approx(-solved.fun, abs=1e-6)


def test_slopes_against_rows_of_gradients() -> None:
    network, asked, y = convolutional(), images(5), answers(5)
    found = slopes(network, asked, y)
    for image, own, slope in zip(asked, y, found, strict=True):
        log_probs = network(image[None])[0].log_softmax(0)
        rows = []
        for k in range(10):
            gradients = torch.autograd.grad(log_probs[k], list(network.parameters()), retain_graph=True)
            rows.append(torch.cat([it.flatten() for it in gradients]))
        g = torch.stack(rows)
        assert torch.allclose(slope, -g @ (g.T @ own), rtol=1e-3, atol=1e-4)


def test_of_the_last_layer_the_order_is_that_of_its_gradients() -> None:
    network, asked, y = small_net((1, 8, 8), 10).eval(), images(20), answers(20)
    p = network(asked).softmax(1).detach()
    defense = GradRedirect(1.0, "last", SETTINGS)
    changed = defense.bind(victim(network=network))(asked, y, 0)
    for own, said, found in zip(y.double(), p.double(), changed, strict=True):
        rows = torch.eye(10).double() - said
        assert torch.allclose(redirected(own[None], -(rows @ rows.T @ own)[None], 1.0)[0].float(), found)


@pytest.mark.parametrize("layers", ["all", "last"])
def test_answers_are_probabilities_that_turn_the_gradient(layers: Layers) -> None:
    y, asked = answers(30), images(30)
    changed = perturbed(GradRedirect(0.8, layers, SETTINGS), y, asked)
    assert (changed >= 0).all() and torch.allclose(changed.sum(1), torch.ones(30), atol=1e-5)
    assert (changed - y).abs().sum(1).max() <= 0.8 + 1e-5
    parts = [perturbed(GradRedirect(0.8, layers, SETTINGS), y[i : i + 1], asked[i : i + 1]) for i in (0, 29)]
    assert parts[0].shape == (1, 10)


def test_an_answer_depends_on_its_own_image_alone() -> None:
    y, asked = answers(8), images(8)
    perturb = GradRedirect(0.8, "all", SETTINGS).bind(victim(network=convolutional()))
    alone = torch.cat([perturb(asked[i : i + 1], y[i : i + 1], 0) for i in range(8)])
    assert torch.allclose(alone, perturb(asked, y, 0), atol=1e-6)


def test_the_surrogate_learns_from_the_victims_answers() -> None:
    torch.manual_seed(0)
    own = victim()
    network = own.trained(SurrogateSettings(small_net, Recipe(epochs=40, momentum=0.9), 0))
    agree = predict_logits(network, own.train.images, own.hardware).argmax(1)
    asked = predict_logits(own.network, own.train.images, own.hardware).argmax(1)
    assert (agree == asked).double().mean() > 0.6


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"grad_redirect.epsilon must be a number between 0 and 2, not 3"):
        GradRedirect(3.0, "all", SETTINGS)
    with pytest.raises(ValueError, match=r"defense.grad_redirect.layers must be one of all, last"):
        GradRedirect(1.0, "first", SETTINGS)  # type: ignore[arg-type]
