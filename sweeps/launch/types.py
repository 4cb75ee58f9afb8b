"""What the launchers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from storage.errors import InputError
from sweeps.launch.folder import Job, SweepFolder

JobWord = Literal[
    "pending", "running", "ended", "failed", "cancelled", "timed out", "node lost", "out of memory"
]


@dataclass(frozen=True)
class JobState:
    """How a job stands. `ended` is said of one that came to its end, well or without a word."""

    word: JobWord
    detail: str = ""

    @property
    def under_way(self) -> bool:
        """Whether there is something to wait for."""
        return self.word in ("pending", "running")


class ClusterSilent(Exception):
    """The cluster's commands do not answer; asking again later may help."""


class Launcher(Protocol):
    """Runs jobs somewhere."""

    name: str
    poll_seconds: float
    outlives_head: bool
    """Whether jobs that have not begun do so without the command that started the sweep."""

    runs_here: bool
    """Whether the jobs run on the machine of that command."""

    def start(self, jobs: Sequence[Job], folder: SweepFolder, logging: Any) -> None:
        """Hand over the jobs; those that need another come after it."""
        ...

    def step(self) -> None:
        """Called again and again while there is something to wait for."""
        ...

    def waiting(self) -> set[str]:
        """Units handed over that no job stands for yet."""
        ...

    def stop(self) -> None:
        """The head is interrupted."""
        ...


SUBMITIT = ("submitit_local", "submitit_slurm")
"""Launchers of others that may run a grid without a plan."""


class UnplannedGrid(InputError):
    """A launcher that is not ours would run the cells of a grid one by one."""

    def __init__(self, launcher: str) -> None:
        super().__init__(
            f"hydra/launcher={launcher} does not plan a grid, and would run finished cells again; choose "
            "hydra/launcher=in_process, local or slurm"
        )
