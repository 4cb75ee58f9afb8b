"""Fitting and running networks on tensors: one new Lightning Trainer for each fit."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from training.batches import TensorBatches, to_float
from training.classifier import Classifier, Loss
from training.recipe import Hardware, Recipe
from training.seeds import derive_seed, seeded


def make_trainer(hardware: Hardware, epochs: int, progress: bool = False) -> pl.Trainer:
    """A Trainer for one fit, on one device, that writes nothing to disk.

    Inside a SLURM job Lightning would take requeueing and process groups into its own hands; the cells
    of a sweep are single processes that resume by themselves, so it is told that it runs alone.
    """
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return pl.Trainer(
        accelerator="cpu" if hardware.device.type == "cpu" else "gpu",
        devices=1,
        precision=hardware.lightning_precision,
        max_epochs=epochs,
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress and hardware.progress,
        use_distributed_sampler=False,
    )


def run_trainer(trainer: pl.Trainer, module: pl.LightningModule, batches: Iterable[Any]) -> None:
    """Fit a module, without the advice on loader processes that tensors on the device have no use for.

    Told to terminate, it raises SystemExit with the code that says so; Lightning's would be that of success.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning 2.6 builds this pytree class in a way that torch >= 2.12 calls deprecated.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
        # On a machine with SLURM; a cell is one process, which needs no srun.
        warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
        try:
            trainer.fit(module, train_dataloaders=batches)
        except SIGTERMException:
            raise SystemExit(128 + signal.SIGTERM) from None


def fit(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    hardware: Hardware,
    seed: int,
    progress: bool = False,
    loss: Loss | None = None,
) -> list[float]:
    """Train `network` in place and return the mean loss of each epoch.

    images: uint8 or float32 in [0, 1] `[n, c, h, w]`; targets: labels `[n]` or probabilities
    `[n, classes]`; loss: cross entropy unless another is given. The same arguments give the same weights,
    bit for bit on a CPU.
    """
    network = hardware.place(network)
    batches = TensorBatches(
        images.to(hardware.device),
        targets.to(hardware.device),
        recipe.batch_size,
        recipe.augmentation,
        derive_seed(seed, "batches"),
        hardware.channels_last,
    )
    module = Classifier(network.train(), recipe, len(batches), loss)
    with seeded(seed, "fit"):
        run_trainer(make_trainer(hardware, recipe.epochs, progress), module, batches)
    hardware.place(network).eval()
    return module.epoch_losses


@torch.no_grad()
def predict_logits(network: nn.Module, images: Tensor, hardware: Hardware) -> Tensor:
    """Logits float32 `[n, classes]` in full precision, on the hardware's device, in batches."""
    network.eval()
    outputs = []
    for batch in images.split(hardware.batch_size):
        inputs = to_float(batch.to(hardware.device))
        if hardware.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        outputs.append(network(inputs).float())
    return torch.cat(outputs)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows of `logits` `[n, classes]` whose largest entry is at `labels` `[n]`."""
    return float((logits.argmax(1) == labels.to(logits.device)).double().mean())
