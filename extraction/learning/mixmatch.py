"""MixMatch (Berthelot et al. 2019): semi-supervised training on few labels and many images without."""

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
    """The paper's hyperparameters (its section 4): Adam, K `guesses`, `temperature` T, MixUp's `alpha`.

    The weight of the unlabelled loss grows linearly to `unlabelled_weight` over the share `ramp_up` of the
    `steps`. The network is left with the exponential moving average (`ema`) of its weights.
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
    """p^(1/T), normalised (the paper's equation 7); `[n, classes]`."""
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)


def mix_up(inputs: Tensor, targets: Tensor, share: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Each row mixed with the row that `order` names, its own share at least a half (equations 8 to 11)."""
    share = torch.maximum(share, 1 - share)
    pixels = share[:, None, None, None]
    mixed = pixels * inputs + (1 - pixels) * inputs[order]
    return mixed, share[:, None] * targets + (1 - share[:, None]) * targets[order]


class MixMatch(pl.LightningModule):
    """One training of a network by MixMatch. A batch: labelled images and targets, unlabelled images.

    The unlabelled come in `guesses` augmented versions `[guesses, n, c, h, w]`.
    """

    def __init__(self, network: nn.Module, recipe: MixMatchRecipe, seed: int) -> None:
        super().__init__()
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.recipe = recipe
        self.random_generator = generator(seed, "mix up")

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int) -> Tensor:
        """Cross entropy of mixed labelled images, and squared error of mixed unlabelled ones."""
        labelled, targets, unlabelled = batch
        guessed = self._guess(unlabelled)
        inputs = torch.cat([labelled, unlabelled.flatten(0, 1)])
        wanted = torch.cat([targets, guessed.repeat(len(unlabelled), 1)])
        inputs, wanted = mix_up(inputs, wanted, *self._draw(len(inputs), inputs.device))
        log_probs = self.network(inputs).float().log_softmax(1)
        known = len(labelled)
        supervised = -(wanted[:known] * log_probs[:known]).sum(1).mean()
        consistency = (log_probs[known:].exp() - wanted[known:]).square().mean()
        progress = min(1.0, batch_index / (self.recipe.ramp_up * self.recipe.steps))
        return supervised + progress * self.recipe.unlabelled_weight * consistency

    @torch.no_grad()
    def _guess(self, unlabelled: Tensor) -> Tensor:
        """The sharpened mean of the network's answers to all versions of an image, `[n, classes]`."""
        count = unlabelled.shape[1]
        answers = self.network(unlabelled.flatten(0, 1)).float().softmax(1)
        return sharpen(answers.unflatten(0, (-1, count)).mean(0), self.recipe.temperature)

    def _draw(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Beta-distributed shares `[n]` and a permutation; Beta from two Gamma draws of one stream."""
        concentration = torch.full((2, count), self.recipe.alpha)
        first, second = torch._standard_gamma(concentration, generator=self.random_generator)
        share = first / (first + second).clamp_min(1e-30)
        order = torch.randperm(count, generator=self.random_generator)
        return share.to(device), order.to(device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Move the average; at first faster, so that it forgets the weights of the start."""
        decay = min(self.recipe.ema, (1 + batch_index) / (10 + batch_index))
        with torch.no_grad():
            for average, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                average.lerp_(value, 1 - decay)
            for kept, latest in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(latest)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, with weights that shrink by weight_decay * learning_rate a step (decoupled)."""
        recipe = self.recipe
        return torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )


class MixMatchBatches:
    """`steps` batches of labelled and unlabelled images, augmented, drawn with replacement."""

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
            labelled, known = self._some(self.images)
            free, _ = self._some(self.unlabelled)
            versions = torch.stack([self._augment(free) for _ in range(self.recipe.guesses)])
            yield self._augment(labelled), self.targets[known], versions

    def _some(self, images: Tensor) -> tuple[Tensor, Tensor]:
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
    """Train `network` in place. images `[n, c, h, w]`, targets `[n, classes]`, unlabelled `[m, c, h, w]`."""
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
