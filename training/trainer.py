"""A Lightning Trainer for each fit. Only what trains imports this module: Lightning takes seconds."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException

from training.divergence import check_trained
from training.recipe import Hardware
from training.remaining import Remaining


def make_trainer(hardware: Hardware, epochs: int, progress: bool = False) -> pl.Trainer:
    """Return a Trainer for one fit, on one device, that writes nothing to disk.

    Args:
        hardware: Device and precision.
        epochs: Epochs to train.
        progress: Whether to show a progress bar, if the hardware's settings allow one.
    """
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    shows_bar = progress and hardware.progress
    callbacks: list[pl.Callback] = [_KeptTermination(signal.getsignal(signal.SIGTERM))]
    return pl.Trainer(
        accelerator="cpu" if hardware.device.type == "cpu" else "gpu",
        devices=1,
        precision=hardware.lightning_precision,
        max_epochs=epochs,
        # Inside a SLURM job Lightning would requeue it and form process groups. A cell of a sweep is a
        # single process that resumes by itself, so Lightning is told that it runs alone.
        plugins=[LightningEnvironment()],
        callbacks=callbacks if shows_bar else [*callbacks, Remaining(epochs)],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=shows_bar,
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
