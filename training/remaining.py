"""Says in the log how long a training still takes, where no bar shows it."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import pytorch_lightning as pl

from storage.durations import duration

log = logging.getLogger(__name__)

FIRST = 20.0
"""Seconds after which it is said for the first time; then after twice as many, and so on."""

LONGEST = 900.0
"""Seconds after which it is said again at the latest."""


class Remaining(pl.Callback):
    """Logs from time to time how much of a training is done, and how long the rest will take.

    Args:
        epochs: Epochs that are trained.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.started = self.pause = self.next = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started, self.pause = time.monotonic(), FIRST
        self.next = self.started + self.pause

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say it where it is time, and the number of batches is known."""
        now, batches = time.monotonic(), trainer.num_training_batches
        if now < self.next or not math.isfinite(batches):
            return
        self.pause = min(2 * self.pause, LONGEST)
        self.next = now + self.pause
        done = (trainer.current_epoch + (batch_idx + 1) / batches) / self.epochs
        left = (now - self.started) * (1 - done) / done
        log.info("%.0f %% of the training is done; about %s to go", 100 * done, duration(left))
