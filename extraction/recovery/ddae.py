"""The recovery of D-DAE (Chen, Guan, Wang and others 2023, "D-DAE: Defense-Penetrating Model Extraction
Attacks").

Shadow models of the attacker stand for the victim: what they say of images is passed through the defense, and
a network learns to undo it, by the L1 distance. So it sees answers as classifiers give them, where Bayes
draws from a prior.

The authors' attacker has labelled images to train shadow models on. This one has none: each shadow model
learns a task of its own, which of some images of the pool an image is nearest to.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from extraction.recovery.base import Imagine
from extraction.recovery.bayes import Bayes
from training.fit import fit, predict_logits
from training.recipe import Hardware, Recipe
from training.seeds import derive_seed, generator, seeded
from victims.architectures.build import Architecture, build_network
from victims.datasets.images import ImageSet

SHADOWS = 4

SHADOW_IMAGES = 2000
"""Images that a shadow model learns from, at most; it is asked about as many others, where there are any."""

SHADOW_RECIPE = Recipe(epochs=5, learning_rate=0.05, momentum=0.9, schedule="one_cycle")


class Ddae(Bayes):
    """Estimates the victim's own answers by what shadow models would have answered.

    Args:
        imagine: Passes probabilities through the victim's defense.
        pool: The attacker's images.
        num_classes: Classes of the victim.
        hardware: Where networks run.
        seed: Seed of all random choices.
        architecture: Factory of the shadow models.
    """

    def __init__(
        self,
        imagine: Imagine,
        pool: ImageSet,
        num_classes: int,
        hardware: Hardware,
        seed: int,
        architecture: Architecture,
    ) -> None:
        super().__init__(imagine, pool, num_classes, hardware, seed)
        self.architecture = architecture
        self.loss = l1_loss

    def examples(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of images with what a shadow model says of them; see Bayes."""
        for number in range(SHADOWS):
            draw = partial(generator, self.seed, "shadow", number)
            order = torch.randperm(len(self.pool), generator=draw())[: 2 * SHADOW_IMAGES]
            images = self._pool_images(order)
            shadow = self._shadow(images[: max(1, min(SHADOW_IMAGES, len(images) // 2))], number)
            answers = predict_logits(shadow, images, self.hardware).softmax(1)
            size = self.hardware.batch_size
            yield from zip(images.split(size), answers.split(size), strict=True)

    def _shadow(self, images: Tensor, number: int) -> nn.Module:
        """A shadow model, trained on its own task on these images."""
        with seeded(self.seed, "shadow network", number):
            network = build_network(
                self.architecture, self.pool.image_shape, self.num_classes, self.pool.images
            )
        seed = derive_seed(self.seed, "shadow training", number)
        fit(network, images, nearest_of_first(images, self.num_classes), SHADOW_RECIPE, self.hardware, seed)
        return network


def nearest_of_first(images: Tensor, classes: int) -> Tensor:
    """Which of the first images each image is nearest to, int64 `[n]` below `classes`, by L2 distance."""
    pixels = images.flatten(1)
    return torch.cdist(pixels, pixels[:classes]).argmin(1)


def l1_loss(logits: Tensor, probabilities: Tensor) -> Tensor:
    """The mean L1 distance of the softmax of logits from probabilities, `[n, classes]` each."""
    return (logits.softmax(1) - probabilities).abs().sum(1).mean()
