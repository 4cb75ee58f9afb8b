"""Data-free model extraction: a generator makes images on which student and victim disagree.

DFME (Truong et al. 2021) and MAZE (Kariyappa et al. 2021, Algorithm 1) share the loop. Generator steps raise
the disagreement; its gradient through the victim is estimated by forward differences. Student steps lower it.
Every image shown to the victim is a query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from storage.identity import stable_id
from storage.typed import BelowOne, Count, Natural, NonNegative, Positive, check_declared
from training.seeds import derive_seed

Disagreement = Literal["l1", "kl"]
GeneratorOptimizer = Literal["adam", "sgd"]
Victim = Callable[[Tensor], Tensor]
"""Returns probabilities `[n, classes]` of images in [0, 1] `[n, c, h, w]`; each image is one query."""


@stable_id("recipe/data_free")
@dataclass(frozen=True)
class DataFreeRecipe:
    """Steps, sizes and rates of the loop; the defaults are DFME's.

    Attributes:
        batch_size: Images in a step.
        latent: Dimension of the generator's input.
        width: Channels of the generator's last hidden layer.
        generator_steps: Generator steps in an iteration.
        student_steps: Student steps in an iteration.
        directions: Random directions by which a gradient is estimated; 0: none is, and generator steps ask
            nothing.
        epsilon: Distance of the forward differences, before images are squashed to [0, 1].
        disagreement: How student and victim are compared (see `disagreement`).
        student_rate: Learning rate of the student's SGD.
        student_momentum: Momentum of the student's SGD.
        student_decay: Weight decay of the student's SGD.
        generator_rate: Learning rate of the generator.
        generator_optimizer: `adam`, as DFME, or `sgd`, as MAZE, with the student's momentum and decay.
        reuse: Whether the first student step of an iteration learns from the generator's last images, which
            were answered when the gradient was estimated, so that it costs no query.
        replay_steps: Student steps on earlier answers in an iteration; they cost no query.
        replay_size: Earlier answers that are kept for them, the newest; None for all.

    Raises:
        ValueError: An option is out of range; the message names it.
    """

    batch_size: Count = 256
    latent: Count = 256
    width: Count = 64
    generator_steps: Count = 1
    student_steps: Count = 5
    directions: Natural = 1
    epsilon: Positive = 1e-3
    disagreement: Disagreement = "l1"
    student_rate: Positive = 0.1
    student_momentum: BelowOne = 0.9
    student_decay: NonNegative = 5e-4
    generator_rate: Positive = 1e-4
    generator_optimizer: GeneratorOptimizer = "adam"
    reuse: bool = False
    replay_steps: Natural = 0
    replay_size: Count | None = None

    def __post_init__(self) -> None:
        check_declared(self, "attack.rule.recipe")
        if self.reuse and not self.directions:
            raise ValueError(
                "attack.rule.recipe.reuse=true needs attack.rule.recipe.directions of at least 1"
            )

    @property
    def queries_per_image(self) -> int:
        """Queries that an iteration asks for each image of its batch."""
        estimate = self.directions + 1 if self.directions else 0
        return self.generator_steps * estimate + self.student_steps - self.reuse


class Generator(nn.Module):
    """DFME's generator; it maps latent vectors `[n, latent]` to unbounded images (see `squash`).

    Args:
        image_shape: Channels, height and width of the images.
        latent: Dimension of the latent vectors.
        width: Channels of the last hidden layer.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent: Count, width: Count) -> None:
        super().__init__()
        channels, height, width_pixels = image_shape
        self.size = (height, width_pixels)
        self.start = (2 * width, math.ceil(height / 4), math.ceil(width_pixels / 4))
        self.project = nn.Linear(latent, math.prod(self.start))
        self.layers = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.BatchNorm2d(channels, affine=False),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Return unbounded images `[n, c, h, w]` of latent vectors `[n, latent]`."""
        start = self.project(latent).unflatten(1, self.start)
        if start.device.type == "cpu":  # whose convolutions take two thirds of the time in this layout
            start = start.contiguous(memory_format=torch.channels_last)
        return self.layers(start)[:, :, : self.size[0], : self.size[1]].contiguous()


def squash(raw: Tensor) -> Tensor:
    """Return unbounded images as images in [0, 1]."""
    return (raw.tanh() + 1) / 2


def disagreement(logits: Tensor, probabilities: Tensor, kind: Disagreement) -> Tensor:
    """Measure how far a student's answers are from the victim's.

    Args:
        logits: The student's logits, `[n, classes]`.
        probabilities: The victim's answers, `[n, classes]`.
        kind: `l1` is the mean distance to the victim's logits, which are recovered as mean-centred
            log-probabilities (DFME, section 3.3). `kl` is the Kullback-Leibler divergence from the victim's
            answer to the student's, in nats (MAZE, equation 5).

    Returns:
        The disagreement on each image, `[n]`.
    """
    log_victim = probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
    if kind == "l1":
        return (logits - (log_victim - log_victim.mean(1, keepdim=True))).abs().mean(1)
    return (probabilities * (log_victim - logits.log_softmax(1))).sum(1)


def estimated_gradient(
    objective: Callable[[Tensor], Tensor], raw: Tensor, directions: Tensor, epsilon: float
) -> Tensor:
    """Estimate the gradient of `objective` at `raw` by forward differences.

    The estimate is the mean over directions u of d * (objective(raw + epsilon u) - objective(raw)) / epsilon
    * u, where d is the dimension of an image.

    Args:
        objective: Maps images `[n, c, h, w]` to one number each, `[n]`; called once, on (m + 1) n images.
        raw: Where to estimate, `[n, c, h, w]`.
        directions: m unit vectors for each image, `[m, n, c, h, w]`.
        epsilon: Distance of the differences.

    Returns:
        The estimated gradient, `[n, c, h, w]`.
    """
    shifted = (raw + epsilon * directions).flatten(0, 1)
    values = objective(torch.cat([raw, shifted]))
    count = len(raw)
    slopes = (values[count:].unflatten(0, (-1, count)) - values[:count]) / epsilon
    dimension = raw[0].numel()
    return dimension * (slopes[:, :, None, None, None] * directions).mean(0)


class Iterations:
    """The batches of `DataFree`: pairs of a seed and a number of images.

    Args:
        queries: Queries to spend over all batches; less than one image's share may be left.
        recipe: Batch size and queries for each image.
        seed: Seed from which each batch's own derives.
    """

    def __init__(self, queries: int, recipe: DataFreeRecipe, seed: int) -> None:
        images, size = queries // recipe.queries_per_image, recipe.batch_size
        self.sizes = [size] * (images // size)
        rest = images % size
        # Batch normalisation needs two images or more, so a single one joins the batch before.
        if rest == 1 and self.sizes:
            self.sizes[-1] += 1
        elif rest:
            self.sizes.append(rest)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for number, size in enumerate(self.sizes):
            yield derive_seed(self.seed, number), size
