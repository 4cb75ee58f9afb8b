"""SwiftThief's contrastive learning (Lee, Han, Lee 2024), on images that were asked about and on others.

SimSiam (Chen and He 2021) brings two views of an image together that was not asked about. Asked images come
together where their answers are alike and sure. And they stay together with what an adversary makes of
them, most of all in classes that were rarely answered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from storage.identity import stable_id
from storage.typed import AboveNone, BelowOne, Bounds, Count, NonNegative, Positive, check_declared
from training.batches import to_float
from training.seeds import generator

BETA = 0.99
"""Of the weights of classes (Cui et al. 2019), as in the authors' code."""


@stable_id("recipe/contrastive")
@dataclass(frozen=True)
class ContrastiveRecipe:
    """How features are learned in each round.

    Attributes:
        steps: Training steps.
        batch_size: Images in a step that were not asked about, and as many that were.
        learning_rate: Of SGD.
        momentum: Of SGD.
        weight_decay: Of SGD.
        width: Numbers of a projection.
        smallest: Least share of an image that a view shows.
        flip: Whether views may be mirrored.
        adversary: How far the adversary may change a pixel.
        adversarial_weight: Weight of its loss.

    Raises:
        ValueError: An option is out of range; the message names it.
    """

    steps: Count = 300
    batch_size: Annotated[int, Bounds(2)] = 128
    learning_rate: Positive = 0.06
    momentum: BelowOne = 0.9
    weight_decay: NonNegative = 5e-4
    width: Annotated[int, Bounds(4)] = 256
    smallest: AboveNone = 0.2
    flip: bool = False
    adversary: NonNegative = 0.01
    adversarial_weight: NonNegative = 0.01

    def __post_init__(self) -> None:
        check_declared(self, "attack.rule.recipe")


def views(images: Tensor, smallest: float, flip: bool, random: torch.Generator) -> Tensor:
    """A random part of each image, scaled to its size, with another contrast and brightness.

    Args:
        images: In [0, 1], `[n, c, h, w]`.
        smallest: Least share of the image's area.
        flip: Whether it may be mirrored.
        random: CPU generator of the draws.
    """
    count = len(images)
    drawn = torch.rand(6, count, generator=random).to(images.device)
    scale = (smallest + (1 - smallest) * drawn[0]).sqrt()
    mirrored = torch.where(drawn[1] < 0.5, -1.0, 1.0) if flip else torch.ones_like(scale)
    shift = (2 * drawn[2:4] - 1) * (1 - scale)
    zeros = torch.zeros_like(scale)
    rows = [torch.stack([scale * mirrored, zeros, shift[0]], 1), torch.stack([zeros, scale, shift[1]], 1)]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    parts = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    contrast, brightness = (0.6 + 0.8 * it[:, None, None, None] for it in drawn[4:6])
    mean = parts.mean((1, 2, 3), keepdim=True)
    return ((mean + contrast * (parts - mean)) * brightness).clamp(0, 1)


def similarity(p: Tensor, z: Tensor, weights: Tensor | None = None) -> Tensor:
    """SimSiam's loss of predictions and projections `[n, d]`: less the (weighted) mean cosine."""
    cosine = nn.functional.cosine_similarity(p, z.detach())
    return -(cosine if weights is None else weights * cosine).mean()


def soft_similarity(p: Tensor, z: Tensor, answers: Tensor) -> Tensor:
    """The loss of asked images (the paper's equation 3): less the mean cosine of pairs of different rows.

    A pair weighs by the cosine of its answers, and by how sure each is: 1 less its entropy over log K.
    """
    cosine = nn.functional.normalize(p) @ nn.functional.normalize(z.detach()).T
    entropy = torch.special.entr(answers).sum(1) / math.log(answers.shape[1])
    alike = nn.functional.normalize(answers) @ nn.functional.normalize(answers).T
    weights = torch.outer(1 - entropy, 1 - entropy) * alike
    weights = weights.masked_fill(torch.eye(len(p), dtype=torch.bool, device=p.device), 0)
    return -(weights * cosine).sum() / (weights > 0).sum().clamp_min(1)


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights of classes by how many labels each has, the rarest most, to a sum of one: `[classes]`."""
    counts = torch.bincount(labels, minlength=classes).double()
    costs = (1 - BETA) / (1 - BETA ** (counts + 1))
    return (costs / costs.sum()).float()


class Heads(nn.Module):
    """Projector and predictor on a network's features.

    Args:
        features: Numbers of a feature.
        width: Numbers of a projection.
    """

    def __init__(self, features: int, width: Annotated[int, Bounds(4)]) -> None:
        super().__init__()
        self.projector = nn.Sequential(
            *(nn.Linear(features, width), nn.BatchNorm1d(width), nn.ReLU()),
            *(nn.Linear(width, width), nn.BatchNorm1d(width, affine=False)),
        )
        self.predictor = nn.Sequential(
            nn.Linear(width, width // 4), nn.BatchNorm1d(width // 4), nn.ReLU(), nn.Linear(width // 4, width)
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and projections, `[n, width]` each, of features `[n, d]`."""
        projections = self.projector(features)
        return self.predictor(projections), projections


Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Two views of images not asked about, two of asked ones `[n, c, h, w]`, and the answers `[n, classes]`."""


class ContrastiveBatches:
    """The batches of `Contrastive`, drawn with replacement, `recipe.steps` times.

    Args:
        unasked: Images not asked about, uint8 or in [0, 1], `[m, c, h, w]`.
        asked: Those asked about, `[n, c, h, w]`.
        answers: Their answers, `[n, classes]`.
        recipe: Sizes and views.
        seed: Seed of all draws.
    """

    def __init__(
        self, unasked: Tensor, asked: Tensor, answers: Tensor, recipe: ContrastiveRecipe, seed: int
    ) -> None:
        self.unasked, self.asked, self.answers, self.recipe = unasked, asked, answers, recipe
        self.random = generator(seed, "views")

    def __len__(self) -> int:
        return self.recipe.steps

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.recipe.steps):
            others, _ = self._drawn(self.unasked)
            known, index = self._drawn(self.asked)
            yield (*self._two(others), *self._two(known), self.answers[index])

    def _drawn(self, images: Tensor) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(images), (self.recipe.batch_size,), generator=self.random)
        index = index.to(images.device)
        return to_float(images[index]), index

    def _two(self, images: Tensor) -> tuple[Tensor, Tensor]:
        one, two = (views(images, self.recipe.smallest, self.recipe.flip, self.random) for _ in range(2))
        return one, two
