"""MixMatch (Berthelot et al. 2019): semi-supervised training on few labelled and many unlabelled images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from storage.identity import stable_id
from storage.typed import AboveNone, BelowOne, Count, NonNegative, Positive, check_declared
from training.batches import augment, to_float
from training.recipe import Augmentation
from training.seeds import derive_seed


@stable_id("recipe/mixmatch")
@dataclass(frozen=True)
class MixMatchRecipe:
    """The paper's hyperparameters (its section 4).

    Attributes:
        steps: Training steps.
        batch_size: Labelled images in a step, and as many unlabelled ones.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW (decoupled).
        alpha: Parameter of MixUp's Beta distribution.
        unlabelled_weight: Final weight of the unlabelled loss.
        temperature: T of sharpening.
        guesses: K, the augmented versions of an unlabelled image whose answers are averaged.
        ema: Decay of the moving average of the weights, which the network gets in the end.
        ramp_up: Share of the steps over which the unlabelled weight grows linearly to its final value.
        augmentation: Random changes of labelled and unlabelled images.

    Raises:
        ValueError: An option is out of range; the message names it.
    """

    steps: Count = 2000
    batch_size: Count = 64
    learning_rate: Positive = 0.002
    weight_decay: NonNegative = 0.02
    alpha: Positive = 0.75
    unlabelled_weight: NonNegative = 75.0
    temperature: Positive = 0.5
    guesses: Count = 2
    ema: BelowOne = 0.999
    ramp_up: AboveNone = 0.4
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check_declared(self, "attack.rule.recipe")


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Return p^(1/T), normalised (the paper's equation 7), for probabilities p `[n, classes]`."""
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)


def mix_up(inputs: Tensor, targets: Tensor, share: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Mix each row with another one (MixUp as in the paper's equations 8 to 11).

    Args:
        inputs: Images `[n, c, h, w]`.
        targets: Probabilities `[n, classes]`.
        share: A row's own share in the mixture, `[n]` in [0, 1]; below a half, its complement is used.
        order: The row that each row is mixed with, int64 `[n]`.

    Returns:
        Mixed images and mixed targets, of the same shapes.
    """
    share = torch.maximum(share, 1 - share)
    pixels = share[:, None, None, None]
    mixed = pixels * inputs + (1 - pixels) * inputs[order]
    return mixed, share[:, None] * targets + (1 - share[:, None]) * targets[order]


class MixMatchBatches:
    """The batches of `MixMatch`: augmented images, drawn with replacement, `recipe.steps` times."""

    def __init__(
        self, images: Tensor, targets: Tensor, unlabelled: Tensor, recipe: MixMatchRecipe, seed: int
    ) -> None:
        self.images, self.targets, self.unlabelled = images, targets, unlabelled
        self.recipe = recipe
        self.random = torch.Generator().manual_seed(derive_seed(seed, "batches"))

    def __len__(self) -> int:
        return self.recipe.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for _ in range(self.recipe.steps):
            labelled, index = self._draw(self.images)
            unlabelled, _ = self._draw(self.unlabelled)
            versions = torch.stack([self._augment(unlabelled) for _ in range(self.recipe.guesses)])
            yield self._augment(labelled), self.targets[index], versions

    def _draw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Draw a batch; return its images as float32 in [0, 1], and their positions."""
        index = torch.randint(len(images), (self.recipe.batch_size,), generator=self.random)
        index = index.to(images.device)
        return to_float(images[index]), index

    def _augment(self, images: Tensor) -> Tensor:
        return augment(images, self.recipe.augmentation, self.random)
