"""Training by MixMatch (see extraction.learning.mixmatch)."""

from __future__ import annotations

import copy
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from extraction.learning.mixmatch import MixMatchBatches, MixMatchRecipe, mix_up, sharpen
from training.recipe import Hardware
from training.seeds import derive_seed, generator, seeded
from training.trainer import make_trainer, run_trainer


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
