"""What a privacy measure may look at, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from privacy.accountant import HowCostsAdd
from training.recipe import Hardware
from victims.datasets.images import ImageSet
from victims.teachers import TeacherSettings


class Voters(Protocol):
    """PATE teachers, as a measure sees them."""

    @property
    def num_classes(self) -> int:
        """How many classes they vote on."""
        ...

    def votes(self, images: Tensor) -> Tensor:
        """Votes for each class, float64 `[n, classes]`, for images in [0, 1] `[n, c, h, w]`."""
        ...


@dataclass(frozen=True, eq=False)
class MeasuredVictim:
    """The defender's side of a victim: its network, its training data, and its PATE teachers on demand."""

    network: nn.Module
    train: ImageSet
    hardware: Hardware
    teachers: Callable[[TeacherSettings], Voters]


class Measure(ABC):
    """A privacy measure: what the answer to each query reveals.

    It is called with a MeasuredVictim and the options of its YAML. Tables, pages and plots show it as its
    class says.
    """

    label: ClassVar[str] = ""
    """What tables call it; its option's name where it is empty."""

    format: ClassVar[str] = ".4g"
    """How tables write a cost, as Python's format() has it."""

    paired: ClassVar[HowCostsAdd] = "summed"
    """How its costs add up with `privacy.accounting=paired`: as in the figures of the paper."""

    teacher_options: ClassVar[tuple[str, ...]] = ()
    """The options that say which PATE teachers it asks, none where it asks none."""

    @classmethod
    def check(cls, option: str, options: Mapping[str, Any], images: int) -> None:
        """Raise ValueError, naming the option, for what makes no sense; asked before anything is trained.

        Args:
            option: The option that holds the measure's, such as `privacy.measures.pate`.
            options: Those options, as the config has them.
            images: Number of the victim's training images.
        """

    @abstractmethod
    def columns(self, images: Tensor, log_probs: Tensor) -> dict[str, Tensor]:
        """The trace's columns for images in [0, 1] `[n, c, h, w]` and the victim's log-probabilities.

        float64 `[n]` each: the cost under the measure's own name, and `log_q` where the cost is an
        epsilon that can be recomputed from it.
        """
