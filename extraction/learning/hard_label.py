"""The loop of DFMS-HL (Sanyal, Addepalli, Babu 2022): a GAN whose generator is also told to be diverse.

The generator learns to make images that look like proxy images, and that the clone puts in all classes alike.
It asks nothing: its gradient goes through discriminator and clone. The clone learns from the answers to its
images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from extraction.learning.data_free import DataFree
from extraction.learning.ensemble import clone_loss
from training.seeds import generator

BETAS = (0.5, 0.999)
"""Adam's decays for generator and discriminator, as of DCGAN (Radford et al. 2016)."""

Proxy = Callable[[int, torch.Generator], Tensor]
"""Draws so many proxy images, float32 in [0, 1] `[n, c, h, w]`."""


class Adversary(nn.Module):
    """The clone, with what its generator is trained by.

    Args:
        clone: The substitute.
        discriminator: Tells proxy images from the generator's: maps images to one logit.
        proxy: Draws proxy images.
        diversity: Weight of the diversity of classes beside the adversarial loss.
        pretraining: Steps of the GAN alone before the first iteration.
        seed: Seed of what these steps draw.
    """

    def __init__(
        self,
        clone: nn.Module,
        discriminator: nn.Module,
        proxy: Proxy,
        diversity: float,
        pretraining: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.clone, self.discriminator, self.proxy = clone, discriminator, proxy
        self.diversity, self.pretraining, self.seed = diversity, pretraining, seed

    def forward(self, images: Tensor) -> Tensor:
        """The clone's logits `[n, classes]`."""
        logits: Tensor = self.clone(images)
        return logits


def make_discriminator(image_shape: tuple[int, int, int], width: int) -> nn.Module:
    """Build two strided convolutions and a linear layer, for images of 4x4 pixels or more."""
    channels, height, width_pixels = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(2 * width * (height // 4) * (width_pixels // 4), 1),
    )


def class_diversity(logits: Tensor) -> Tensor:
    """The negative entropy, in nats, of the mean answer to a batch, of logits `[n, classes]` (equation 3)."""
    mean = logits.softmax(1).mean(0)
    return (mean * (mean + 1e-6).log()).sum()


def adversarial_loss(logits: Tensor, is_proxy: bool) -> Tensor:
    """Binary cross entropy of a discriminator's logits `[n, 1]`, all of one kind of images."""
    return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_proxy)))


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
