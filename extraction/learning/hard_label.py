"""What DFMS-HL (Sanyal, Addepalli, Babu 2022) trains: a GAN whose generator is also told to be diverse.

The generator learns to make images that look like proxy images, and that the clone puts in all classes alike.
It asks nothing: its gradient goes through discriminator and clone. The clone learns from the answers to its
images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

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
