"""MixMatch (Berthelot et al. 2019): semi-supervised training on few labelled and many unlabelled images."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from storage.identity import stable_id
from storage.options import check_options
from training.batches import augment, to_float
from training.fit import make_trainer, run_trainer
from training.recipe import Augmentation, Hardware
from training.seeds import derive_seed, generator, seeded


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

    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 0.002
    weight_decay: float = 0.02
    alpha: float = 0.75
    unlabelled_weight: float = 75.0
    temperature: float = 0.5
    guesses: int = 2
    ema: float = 0.999
    ramp_up: float = 0.4
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check = partial(check_options, self, "attack.rule.recipe")
        check("steps", "batch_size", "guesses", valid=lambda it: it >= 1, rule="at least 1")
        check("learning_rate", "alpha", "temperature", valid=lambda it: it > 0, rule="above 0")
        check("unlabelled_weight", valid=lambda it: it >= 0, rule="at least 0")
        check("ema", valid=lambda it: 0 <= it < 1, rule="in [0, 1)")
        check("ramp_up", valid=lambda it: 0 < it <= 1, rule="in (0, 1]")


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


class MixMatch(pl.LightningModule):
    """Trains a network by MixMatch, and keeps the moving average of its weights in `average`.

    A batch is labelled images `[n, c, h, w]`, their targets `[n, classes]`, and unlabelled images in
    augmented versions `[guesses, n, c, h, w]`.
    """

    def __init__(self, network: nn.Module, recipe: MixMatchRecipe, seed: int) -> None:
        super().__init__()
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.recipe = recipe
        self.random_generator = generator(seed, "mix up")

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        """Return cross entropy on labelled images plus weighted squared error on unlabelled ones."""
        labelled, targets, unlabelled = batch
        guessed = self._guess(unlabelled)
        inputs = torch.cat([labelled, unlabelled.flatten(0, 1)])
        targets = torch.cat([targets, guessed.repeat(len(unlabelled), 1)])
        shares, order = self._draw_mixture(len(inputs), inputs.device)
        inputs, targets = mix_up(inputs, targets, shares, order)
        log_probs = self.network(inputs).float().log_softmax(1)
        known = len(labelled)
        supervised = -(targets[:known] * log_probs[:known]).sum(1).mean()
        consistency = (log_probs[known:].exp() - targets[known:]).square().mean()
        progress = min(1.0, batch_index / (self.recipe.ramp_up * self.recipe.steps))
        return supervised + progress * self.recipe.unlabelled_weight * consistency

    @torch.no_grad()
    def _guess(self, unlabelled: Tensor) -> Tensor:
        """Return the sharpened mean of the network's answers to all versions of an image, `[n, classes]`."""
        count = unlabelled.shape[1]
        answers = self.network(unlabelled.flatten(0, 1)).float().softmax(1)
        return sharpen(answers.unflatten(0, (-1, count)).mean(0), self.recipe.temperature)

    def _draw_mixture(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Draw Beta-distributed shares `[n]` and a permutation `[n]`."""
        # Beta as a ratio of Gammas, since torch's own Beta takes no generator.
        concentration = torch.full((2, count), self.recipe.alpha)
        first, second = torch._standard_gamma(concentration, generator=self.random_generator)
        share = first / (first + second).clamp_min(1e-30)
        order = torch.randperm(count, generator=self.random_generator)
        return share.to(device), order.to(device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Update the moving average; at first faster, so that it forgets the initial weights."""
        decay = min(self.recipe.ema, (1 + batch_index) / (10 + batch_index))
        with torch.no_grad():
            for average, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                average.lerp_(value, 1 - decay)
            for kept, latest in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(latest)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW: weights shrink by weight_decay * learning_rate in each step (decoupled)."""
        recipe = self.recipe
        return torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )


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


def fit_mixmatch(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    unlabelled: Tensor,
    recipe: MixMatchRecipe,
    hardware: Hardware,
    seed: int,
) -> None:
    """Train `network` in place by MixMatch.

    Args:
        network: The network; it ends in evaluation mode with the average of its weights.
        images: Labelled images, uint8 or float32 in [0, 1], `[n, c, h, w]`.
        targets: Their probabilities, float32 `[n, classes]`.
        unlabelled: Images without labels, uint8 or float32 in [0, 1], `[m, c, h, w]`.
        recipe: Hyperparameters.
        hardware: Where the network runs.
        seed: Seed of batches, augmentation and MixUp.
    """
    network = hardware.place(network)
    device = hardware.device
    batches = MixMatchBatches(
        images.to(device), targets.to(device), unlabelled.to(device), recipe, derive_seed(seed, "mixmatch")
    )
    module = MixMatch(network.train(), recipe, seed)
    with seeded(seed, "mixmatch"):
        run_trainer(make_trainer(hardware, epochs=1), module, batches)
    network.load_state_dict(module.average.state_dict())
    hardware.place(network).eval()
