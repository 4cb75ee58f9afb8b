"""Training and evaluation of networks on tensors; each fit gets a new Lightning Trainer."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from storage.errors import InputError
from training.batches import TensorBatches, to_float
from training.classifier import Classifier, Loss
from training.divergence import check_trained
from training.recipe import Hardware, Recipe
from training.seeds import derive_seed, seeded


def make_trainer(hardware: Hardware, epochs: int, progress: bool = False) -> pl.Trainer:
    """Return a Trainer for one fit, on one device, that writes nothing to disk.

    Args:
        hardware: Device and precision.
        epochs: Epochs to train.
        progress: Whether to show a progress bar, if the hardware's settings allow one.
    """
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return pl.Trainer(
        accelerator="cpu" if hardware.device.type == "cpu" else "gpu",
        devices=1,
        precision=hardware.lightning_precision,
        max_epochs=epochs,
        # Inside a SLURM job Lightning would requeue it and form process groups. A cell of a sweep is a
        # single process that resumes by itself, so Lightning is told that it runs alone.
        plugins=[LightningEnvironment()],
        callbacks=[_KeptTermination(signal.getsignal(signal.SIGTERM))],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress and hardware.progress,
        use_distributed_sampler=False,
    )


class _KeptTermination(pl.Callback):
    """Leaves SIGTERM to whoever has set a handler for it before.

    Lightning would end the training as well. On a cluster the signal announces a preemption: a job that ends
    by itself is not requeued, and one that goes on until it is killed is, and resumes from its last answer.
    """

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the handler back; Lightning has set its own just before."""
        if callable(self.handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)


def run_trainer(trainer: pl.Trainer, module: pl.LightningModule, batches: Iterable[Any]) -> None:
    """Fit a module, without warnings that do not concern tensors on the device.

    Args:
        trainer: A new Trainer (see `make_trainer`).
        module: The module to fit, in place.
        batches: The batches of an epoch.

    Raises:
        SystemExit: The process was told to terminate (SIGTERM); the exit code says so.
        KeyboardInterrupt: It was interrupted at the terminal.
        Diverged: Weights are NaN or infinite at the end.
    """
    with warnings.catch_warnings():
        # Its advice is more loader processes, but there is nothing to load.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Lightning 2.6 builds this pytree class in a way that torch >= 2.12 calls deprecated.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
        # Lightning says so on a machine with SLURM, but a single process needs no srun.
        warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
        try:
            trainer.fit(module, train_dataloaders=batches)
        except SIGTERMException:
            # Lightning's own exit code would be that of success.
            raise SystemExit(128 + signal.SIGTERM) from None
        except SystemExit as ended:
            if not isinstance(ended.__context__, KeyboardInterrupt):
                raise
            # Lightning turns an interrupt into an exit, and is deaf to further ones.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
    check_trained(module.state_dict())


def fit(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    hardware: Hardware,
    seed: int,
    progress: bool = False,
    loss: Loss | None = None,
    after_epoch: Callable[[], None] | None = None,
) -> list[float]:
    """Train `network` in place; it ends in evaluation mode.

    The same arguments give the same weights, bit for bit on a CPU.

    Args:
        network: Maps images in [0, 1] to logits.
        images: Uint8, or float32 in [0, 1], `[n, c, h, w]`.
        targets: Labels int64 `[n]`, or probabilities `[n, classes]`.
        recipe: How to train.
        hardware: Where to train.
        seed: Seed of batches, augmentation and dropout.
        progress: Whether to show a progress bar.
        loss: Loss of logits and targets; cross entropy by default. `after_epoch` is called after each epoch.

    Returns:
        The mean training loss of each epoch.

    Raises:
        Diverged: The loss or the weights became NaN or infinite.
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
    module = Classifier(network.train(), recipe, len(batches), loss, after_epoch)
    with seeded(seed, "fit"):
        run_trainer(make_trainer(hardware, recipe.epochs, progress), module, batches)
    hardware.place(network).eval()
    return module.epoch_losses


@torch.no_grad()
def predict_logits(network: nn.Module, images: Tensor, hardware: Hardware) -> Tensor:
    """Return the logits float32 `[n, classes]` of images uint8 or in [0, 1], computed in full precision.

    Raises InputError where the network answers NaN or infinity: the largest of such logits is no class.
    """
    network.eval()
    outputs = []
    for batch in images.split(hardware.batch_size):
        inputs = to_float(batch.to(hardware.device))
        if hardware.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        outputs.append(network(inputs).float())
    logits = torch.cat(outputs)
    if not logits.isfinite().all():
        row = int((~logits.isfinite().all(1)).nonzero()[0])
        raise InputError(f"the network answers NaN or infinity, first for image {row} of {len(images)}")
    return logits


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of rows of `logits` `[n, classes]` whose largest entry is at `labels` `[n]`."""
    return float((logits.argmax(1) == labels.to(logits.device)).double().mean())
