"""What a privacy measure may look at, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

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


class Measure(Protocol):
    """A privacy measure: what the answer to each query reveals."""

    def columns(self, images: Tensor, log_probs: Tensor) -> dict[str, Tensor]:
        """The trace's columns for images in [0, 1] `[n, c, h, w]` and the victim's log-probabilities.

        float64 `[n]` each: the cost under the measure's own name, and `log_q` where the cost is an
        epsilon that can be recomputed from it.
        """
        ...
