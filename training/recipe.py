"""The settings of a training: optimiser, schedule, augmentation, and hardware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from storage.identity import stable_id
from storage.typed import BelowOne, Count, Natural, NonNegative, Part, Positive, check_declared

Schedule = Literal["constant", "step", "cosine", "one_cycle", "plateau"]
OptimizerName = Literal["sgd", "adam"]
Accelerator = Literal["auto", "cpu", "gpu"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
Loss = Callable[[Tensor, Tensor], Tensor]
"""Returns the mean loss of logits `[n, classes]` for their targets."""


@stable_id("recipe/augmentation")
@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images: shifts by up to `shift` pixels, and mirror images if `flip`."""

    shift: Natural = 0
    flip: bool = False

    def __post_init__(self) -> None:
        check_declared(self, "recipe.augmentation")


@stable_id("recipe/supervised")
@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images in a batch, at most.
        optimizer: `sgd` or `adam`.
        learning_rate: Learning rate at the start; the peak for `one_cycle`.
        momentum: Of SGD.
        weight_decay: Of either optimiser.
        schedule: How the learning rate changes. `step` and `plateau` step by epochs, `cosine` and
            `one_cycle` by batches.
        step_epochs: Epochs between two steps of `step`.
        step_factor: Factor of a step of `step` and `plateau`.
        plateau_patience: Epochs without a lower loss before `plateau` steps.
        label_smoothing: Share of each target that is spread over all classes.
        augmentation: Random changes of the images.

    Raises:
        ValueError: An option is out of range; the message names it.
    """

    epochs: Count = 20
    batch_size: Count = 64
    optimizer: OptimizerName = "sgd"
    learning_rate: Positive = 0.1
    momentum: BelowOne = 0.5
    weight_decay: NonNegative = 1e-4
    schedule: Schedule = "constant"
    step_epochs: Count = 30
    step_factor: Part = 0.1
    plateau_patience: Natural = 10
    label_smoothing: BelowOne = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check_declared(self, "recipe")

    def make_optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        """Return the optimiser of `parameters`."""
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        )

    def make_schedulers(self, optimizer: torch.optim.Optimizer, batches: int) -> list[dict[str, Any]]:
        """Return the schedule as Lightning wants it, for `batches` an epoch; an empty list if constant."""
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
    """Where and how networks run.

    Attributes:
        accelerator: `auto`, `cpu` or `gpu`.
        precision: Of training; `auto` is bf16 where the machine has instructions for it, else 32 bits.
        channels_last: Whether networks and images lie in that memory format.
        batch_size: Images at a time when a network only answers.
        progress: Whether progress bars may be shown.

    Raises:
        ValueError: An option is not valid, or there is no GPU where one is asked for.
    """

    accelerator: Accelerator = "auto"
    precision: Precision = "auto"
    channels_last: bool = True
    batch_size: Count = 1024
    progress: bool = False

    def __post_init__(self) -> None:
        check_declared(self, "trainer")
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ValueError("trainer.accelerator=gpu, but torch sees no GPU here; use trainer=cpu")

    @property
    def device(self) -> torch.device:
        """The one device on which networks and images lie."""
        on_gpu = self.accelerator == "gpu" or (self.accelerator == "auto" and torch.cuda.is_available())
        return torch.device("cuda" if on_gpu else "cpu")

    @property
    def lightning_precision(self) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
        """The precision of training, with `auto` resolved for this machine."""
        if self.precision != "auto":
            return self.precision
        if self.device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return "bf16-mixed" if fast else "32-true"

    def autocast(self) -> torch.autocast:
        """Return a context in which a forward pass runs at the precision of training."""
        dtype = torch.float16 if self.lightning_precision == "16-mixed" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.lightning_precision != "32-true")

    def place(self, network: nn.Module) -> nn.Module:
        """Move the network to the device and into the memory format of the settings, and return it."""
        network = network.to(self.device)
        if self.channels_last:
            network = network.to(memory_format=torch.channels_last)
        return network
