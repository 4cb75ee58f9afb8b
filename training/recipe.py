"""What a training run is made of: optimiser, schedule, augmentation, and where it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from storage.identity import stable_id
from storage.options import check_choice, check_options

Schedule = Literal["constant", "step", "cosine", "one_cycle", "plateau"]
OptimizerName = Literal["sgd", "adam"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@stable_id("recipe/augmentation")
@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training batch: shifts of up to `shift` pixels, mirror images with `flip`."""

    shift: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        check_options(
            self, "recipe.augmentation", "shift", valid=lambda it: it >= 0, rule="at least 0 pixels"
        )


@stable_id("recipe/supervised")
@dataclass(frozen=True)
class Recipe:
    """A training recipe. Schedules step by epochs; `cosine` and `one_cycle` by batches."""

    epochs: int = 20
    batch_size: int = 64
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.5
    weight_decay: float = 1e-4
    schedule: Schedule = "constant"
    step_epochs: int = 30
    step_factor: float = 0.1
    plateau_patience: int = 10
    label_smoothing: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check_choice("recipe.schedule", self.schedule, Schedule)
        check_choice("recipe.optimizer", self.optimizer, OptimizerName)
        check = partial(check_options, self, "recipe")
        check("epochs", "batch_size", "step_epochs", valid=lambda it: it >= 1, rule="at least 1")
        check("learning_rate", valid=lambda it: it > 0, rule="above 0")
        check("label_smoothing", valid=lambda it: 0 <= it < 1, rule="in [0, 1)")

    def make_optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        """The optimiser over `parameters`."""
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        )

    def make_schedulers(self, optimizer: torch.optim.Optimizer, batches: int) -> list[dict[str, Any]]:
        """Lightning's description of the schedule, for `batches` batches an epoch; empty when constant."""
        total = self.epochs * batches
        match self.schedule:
            case "step":
                step = torch.optim.lr_scheduler.StepLR(optimizer, self.step_epochs, self.step_factor)
                return [{"scheduler": step, "interval": "epoch"}]
            case "plateau":
                plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                    optimizer, factor=self.step_factor, patience=self.plateau_patience
                )
                return [{"scheduler": plateau, "interval": "epoch", "monitor": "loss"}]
            case "cosine":
                cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
                return [{"scheduler": cosine, "interval": "step"}]
            case "one_cycle":
                cycle = torch.optim.lr_scheduler.OneCycleLR(
                    optimizer, self.learning_rate, total_steps=max(total, 2), cycle_momentum=False
                )
                return [{"scheduler": cycle, "interval": "step"}]
        return []


@dataclass(frozen=True)
class Hardware:
    """Where and how networks run. `auto` precision is bf16 where the machine has instructions for it."""

    accelerator: str = "auto"
    precision: Precision = "auto"
    channels_last: bool = True
    batch_size: int = 1024
    progress: bool = False

    def __post_init__(self) -> None:
        check_choice("trainer.precision", self.precision, Precision)
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise ValueError(f"trainer.accelerator must be one of auto, cpu, gpu, not {self.accelerator!r}")
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ValueError("trainer.accelerator=gpu, but torch sees no GPU here; use trainer=cpu")
        if self.batch_size < 1:
            raise ValueError(f"trainer.batch_size must be at least 1, not {self.batch_size}")

    @property
    def device(self) -> torch.device:
        """The one device that everything lives on."""
        on_gpu = self.accelerator == "gpu" or (self.accelerator == "auto" and torch.cuda.is_available())
        return torch.device("cuda" if on_gpu else "cpu")

    @property
    def lightning_precision(self) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
        """The precision that training uses, `auto` resolved for this machine."""
        if self.precision != "auto":
            return self.precision
        if self.device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return "bf16-mixed" if fast else "32-true"

    def autocast(self) -> torch.autocast:
        """A context under which a forward pass runs at the training precision."""
        dtype = torch.float16 if self.lightning_precision == "16-mixed" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.lightning_precision != "32-true")

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, in the memory format that is fastest there."""
        network = network.to(self.device)
        if self.channels_last:
            network = network.to(memory_format=torch.channels_last)
        return network
