"""The loop of DFMS-HL (see extraction.learning.hard_label)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from extraction.learning.ensemble import clone_loss
from extraction.learning.hard_label import Adversary, adversarial_loss, class_diversity
from extraction.learning.loops.data_free import DataFree
from training.seeds import generator

BETAS = (0.5, 0.999)
"""Adam's decays for generator and discriminator, as of DCGAN (Radford et al. 2016)."""


class HardLabelLoop(DataFree):
    """The loop of DataFree with an Adversary for its student."""

    @property
    def _adversary(self) -> Adversary:
        return cast(Adversary, self.student)

    def on_train_start(self) -> None:
        """Train generator and discriminator on proxy images, without the clone."""
        self.random = generator(self._adversary.seed, "pretraining")
        for _ in range(self._adversary.pretraining):
            self._gan_step(self.recipe.batch_size, diversity=0.0)

    def _generator_step(self, count: int) -> None:
        self._gan_step(count, self._adversary.diversity)

    def _gan_step(self, count: int, diversity: float) -> None:
        """One step of the discriminator, and one of the generator."""
        self.generator.train()
        images = self._images(self.generator(self._latent(count)))
        self._discriminator_step(images.detach())
        adversary = self._adversary.eval()
        loss = adversarial_loss(adversary.discriminator(images).float(), is_proxy=True)
        if diversity:
            loss = loss + diversity * class_diversity(adversary(images).float())
        _, optimizer = self._optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.generator.eval()

    def _discriminator_step(self, images: Tensor) -> None:
        tell = self._adversary.discriminator.train()
        real = self._adversary.proxy(len(images), self.random).to(self.device)
        optimizer = cast(list[torch.optim.Optimizer], self.optimizers())[2]
        optimizer.zero_grad()
        loss = adversarial_loss(tell(real).float(), True) + adversarial_loss(tell(images).float(), False)
        self.manual_backward(loss)
        optimizer.step()

    def _train_student(self, images: Tensor, answers: Tensor) -> None:
        clone = self._adversary.clone.train()
        optimizer, _ = self._optimizers()
        optimizer.zero_grad()
        self.manual_backward(clone_loss(clone(images).float(), answers, self.recipe.disagreement))
        optimizer.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return SGD for the clone, and Adam for generator and discriminator."""
        recipe, rate = self.recipe, self.recipe.generator_rate
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.SGD(
                self._adversary.clone.parameters(),
                lr=recipe.student_rate,
                momentum=recipe.student_momentum,
                weight_decay=recipe.student_decay,
            ),
            torch.optim.Adam(self.generator.parameters(), lr=rate, betas=BETAS),
            torch.optim.Adam(self._adversary.discriminator.parameters(), lr=rate, betas=BETAS),
        ]
        for optimizer, state in zip(optimizers, self.optimizer_states, strict=False):
            optimizer.load_state_dict(state)
        return optimizers
