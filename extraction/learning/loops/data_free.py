"""The loop of data-free extraction (see extraction.learning.data_free)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from extraction.learning.data_free import (
    DataFreeRecipe,
    Generator,
    Victim,
    disagreement,
    estimated_gradient,
    squash,
)
from extraction.learning.replay import Replay


class DataFree(pl.LightningModule):
    """Trains a student against a generator; a batch is a seed and a number of images.

    Args:
        student: The substitute, trained in place.
        generator: Makes the images; trained in place.
        victim: Answers images with probabilities.
        recipe: Steps, sizes and rates.
        optimizer_states: States of the student's and the generator's optimiser to continue from.
        rate: Share of both learning rates that is left after so many queries of this module.
        replay: Earlier answers to continue with.
    """

    def __init__(
        self,
        student: nn.Module,
        generator: Generator,
        victim: Victim,
        recipe: DataFreeRecipe,
        optimizer_states: list[dict[str, Any]] | None = None,
        rate: Callable[[int], float] = lambda queries: 1.0,
        replay: Replay | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.student, self.generator = student, generator
        self.victim, self.recipe, self.rate = victim, recipe, rate
        self.replay = Replay(recipe.replay_size) if replay is None else replay
        self.optimizer_states = optimizer_states or []
        self.queries = 0
        self.last_asked: tuple[Tensor, Tensor] | None = None

    def training_step(self, batch: tuple[int, int], batch_index: int) -> None:
        """Run the generator, student and replay steps of one iteration."""
        seed, count = batch
        self.random = torch.Generator().manual_seed(seed)
        self._set_rates()
        for _ in range(self.recipe.generator_steps):
            self._generator_step(count)
        for step in range(self.recipe.student_steps):
            self._student_step(count, reuse=self.recipe.reuse and step == 0)
        for _ in range(self.recipe.replay_steps):
            self._replay_step(count)
        self.queries += count * self.recipe.queries_per_image

    def _set_rates(self) -> None:
        rates = (self.recipe.student_rate, self.recipe.generator_rate)
        for optimizer, rate in zip(self._optimizers(), rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.rate(self.queries)

    def _latent(self, count: int) -> Tensor:
        return torch.randn(count, self.recipe.latent, generator=self.random).to(self.device)

    def _images(self, raw: Tensor) -> Tensor:
        """Return images in [0, 1] of what the generator gives."""
        return squash(raw)

    def _generator_step(self, count: int) -> None:
        """Raise the disagreement: backpropagate the estimated gradient through the generator alone."""
        self.generator.train()
        raw = self.generator(self._latent(count))
        shape = (self.recipe.directions, *raw.shape)
        directions = torch.randn(shape, generator=self.random).to(self.device)
        directions /= directions.flatten(2).norm(dim=2)[:, :, None, None, None]
        with torch.no_grad():
            gradient = estimated_gradient(self._disagreement, raw.detach(), directions, self.recipe.epsilon)
        _, optimizer = self._optimizers()
        optimizer.zero_grad()
        raw.backward(-gradient / count)
        optimizer.step()

    def _disagreement(self, raw: Tensor) -> Tensor:
        """Ask the victim about squashed `raw` and return the student's disagreement with it, `[n]`."""
        images = squash(raw)
        self.student.eval()
        # In full precision, since bf16 rounds away differences at a distance of epsilon.
        with torch.autocast(self.device.type, enabled=False):
            answers = self.victim(images)
            count = len(images) // (self.recipe.directions + 1)
            self.last_asked = images[:count].float(), answers[:count]
            return disagreement(self.student(images), answers, self.recipe.disagreement)

    def _student_step(self, count: int, reuse: bool) -> None:
        """Lower the disagreement on new images, or on those of the generator's step, which were answered."""
        if reuse and self.last_asked is not None:
            images, answers = self.last_asked
        else:
            with torch.no_grad():
                images = self._images(self.generator(self._latent(count))).float()
            with torch.autocast(self.device.type, enabled=False):
                answers = self.victim(images)
        self._train_student(images, answers)
        if self.recipe.replay_steps:
            self.replay.add(images, answers)

    def _replay_step(self, count: int) -> None:
        """Lower the disagreement on earlier images, which costs no query."""
        self._train_student(*self.replay.draw(count, self.random, self.device))

    def _train_student(self, images: Tensor, answers: Tensor) -> None:
        self.student.train()
        optimizer, _ = self._optimizers()
        loss = disagreement(self.student(images).float(), answers, self.recipe.disagreement).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def _optimizers(self) -> tuple[Any, Any]:
        optimizers: Any = self.optimizers()
        return optimizers[0], optimizers[1]

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return SGD for the student and the generator's own optimiser, in the states to continue from."""
        recipe = self.recipe
        sgd = partial(torch.optim.SGD, momentum=recipe.student_momentum, weight_decay=recipe.student_decay)
        of_generator = sgd if recipe.generator_optimizer == "sgd" else torch.optim.Adam
        optimizers: list[torch.optim.Optimizer] = [
            sgd(self.student.parameters(), lr=recipe.student_rate),
            of_generator(self.generator.parameters(), lr=recipe.generator_rate),
        ]
        for optimizer, state in zip(optimizers, self.optimizer_states, strict=False):
            optimizer.load_state_dict(state)
        return optimizers
