"""Clones that disagree: what the generator is trained by, and what clones begin with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from extraction.attacks.dfme import Dfme
from extraction.attacks.disguide import Disguide
from extraction.learning.data_free import (
    DataFreeRecipe,
    Generator,
    Iterations,
)
from extraction.learning.ensemble import Ensemble, generator_loss, renewed
from extraction.learning.loops.ensemble import EnsembleLoop
from support.data_free import RECIPES
from support.extracting import CPU, network
from training.trainer import make_trainer, run_trainer


def test_the_generators_loss_is_what_numpy_makes_of_the_clones() -> None:
    logits = torch.randn(3, 6, 10, dtype=torch.float64)
    exps = np.exp(logits.numpy())
    p = exps / exps.sum(2, keepdims=True)
    spread = np.mean([np.std(p[:, i, k], ddof=1) for i in range(6) for k in range(10)])
    mean = p.mean((0, 1)) + 1e-6
    assert float(generator_loss(logits, 0.3)) == pytest.approx(-spread - 0.3 * -(mean * np.log(mean)).sum())


class GeneratorAlone(EnsembleLoop):
    """Trains the generator, and remembers its loss on the same latent vectors before each step."""

    def training_step(self, batch: tuple[int, int], batch_index: int) -> None:
        self.random = torch.Generator().manual_seed(batch[0])
        latent = torch.randn(256, 32, generator=torch.Generator().manual_seed(0))
        logits = self.student(self._images(self.generator(latent)))
        self.losses = [*getattr(self, "losses", []), float(generator_loss(logits, 0.2).detach())]
        self._generator_step(batch[1])


def test_the_generator_makes_clones_disagree_and_they_learn_nothing_from_it() -> None:
    torch.manual_seed(0)
    clones = Ensemble([network((1, 8, 8), 10) for _ in range(2)], diversity=0.2, grey=0)
    before = [it.clone() for it in clones.parameters()]
    loop = GeneratorAlone(clones, Generator((1, 8, 8), 32, 16), lambda it: it, RECIPES[Disguide])
    run_trainer(make_trainer(CPU, epochs=1), loop.train(), Iterations(64 * 60, RECIPES[Disguide], 0))
    assert loop.losses[-1] < loop.losses[0] - 0.02
    assert all(torch.equal(*pair) for pair in zip(before, clones.parameters(), strict=True))


def test_clones_begin_with_weights_of_their_own_and_some_images_are_grey() -> None:
    first = network((1, 8, 8), 10)
    second, again, third = (renewed(first, 0, number) for number in (1, 1, 2))
    weights = [next(it.parameters()) for it in (first, second, again, third)]
    assert torch.equal(weights[1], weights[2])
    assert not any(torch.equal(weights[1], weights[other]) for other in (0, 3))
    loop = EnsembleLoop(
        Ensemble([first, second], 0.2, grey=3), Generator((3, 8, 8), 2, 2), lambda it: it, DataFreeRecipe()
    )
    images = loop._images(torch.randn(7, 3, 8, 8))
    is_grey = [bool((image - image.mean(0)).abs().max() < 1e-6) for image in images]
    assert is_grey == [True, False, False, True, False, False, True]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clones": 1}, "clones must be a whole number of at least 2, not 1"),
        ({"grey": -1}, "grey must be a whole number of at least 0, not -1"),
        (
            {"recipe": DataFreeRecipe()},
            r"recipe\.directions must be 0: this attack estimates no gradient, not 1",
        ),
    ],
)
def test_a_disguide_without_sense_is_refused(options: dict[str, Any], said: str) -> None:
    sensible: dict[str, Any] = {"recipe": RECIPES[Disguide], "budget": 100}
    with pytest.raises(ValueError, match=rf"attack\.rule\.{said}"):
        Disguide(**sensible | options)
    with pytest.raises(ValueError, match=r"attack\.rule\.recipe\.directions must be at least 1, not 0"):
        Dfme(RECIPES[Disguide], 100)
