"""The LightningModule that trains one classifier: a victim or a substitute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from training.divergence import check_losses
from training.recipe import Loss, Recipe


class Classifier(pl.LightningModule):
    """Trains a network that maps images in [0, 1] `[n, c, h, w]` to logits `[n, classes]`.

    Args:
        network: The network, trained in place.
        recipe: Optimiser, schedule and label smoothing.
        batches_per_epoch: Batches in an epoch, by which some schedules step.
        loss: Loss of logits and targets; by default cross entropy with labels int64 `[n]` or probabilities
            `[n, classes]`.
        after_epoch: Called after each epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        batches_per_epoch: int,
        loss: Loss | None = None,
        after_epoch: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.batches_per_epoch = batches_per_epoch
        self.loss = loss or self._cross_entropy
        self.after_epoch = after_epoch
        self.epoch_losses: list[float] = []
        self._losses: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `[n, classes]`."""
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        images, targets = batch
        loss = self.loss(self.network(images), targets)
        self._losses.append(loss.detach())
        return loss

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing)

    def on_train_epoch_end(self) -> None:
        """Keep the epoch's mean loss, and log it for the plateau schedule; raises Diverged for NaN."""
        losses = torch.stack(self._losses).float()
        self._losses.clear()
        check_losses(losses, self.current_epoch, self.recipe)
        mean = losses.mean()
        self.epoch_losses.append(float(mean))
        self.log("loss", mean)
        if self.after_epoch is not None:
            self.after_epoch()

    def configure_optimizers(self) -> Any:
        """Return the recipe's optimiser and schedule."""
        optimizer = self.recipe.make_optimizer(self.network.parameters())
        schedulers = self.recipe.make_schedulers(optimizer, self.batches_per_epoch)
        return ([optimizer], schedulers) if schedulers else optimizer
