"""What follows a cell: a tracker for each logger that is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd


@dataclass(frozen=True, eq=False)
class TrackedCell:
    """What is said of a cell before it runs.

    `labels` are flat values to group runs by, `name` tells the run from others, and `output` is the cell's
    folder.
    """

    config: Mapping[str, Any]
    labels: Mapping[str, Any]
    name: str
    output: Path

    @property
    def sweep(self) -> str:
        """The name of the folder that holds those of a sweep's cells."""
        return self.output.resolve().parent.name


class Tracker(Protocol):
    """Where a cell's curve is followed while it grows."""

    def log(self, curve: pd.DataFrame) -> None:
        """Log those rows of the curve that were not logged yet."""
        ...

    def summarize(self, result: Mapping[str, Any]) -> None:
        """Log the cell's final figures."""
        ...

    def keep(self, files: Mapping[str, Path]) -> None:
        """Keep those of a finished cell's files that are wanted: its trace, its substitute."""
        ...


class Logger(Protocol):
    """An option of `logger`."""

    def follow(self, cell: TrackedCell) -> AbstractContextManager[Tracker]:
        """The cell's tracker; a cell that raises within is recorded as failed."""
        ...


class Trackers:
    """Several trackers as one; none tracks nothing."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = trackers

    def log(self, curve: pd.DataFrame) -> None:
        """See Tracker."""
        for tracker in self.trackers:
            tracker.log(curve)

    def summarize(self, result: Mapping[str, Any]) -> None:
        """See Tracker."""
        for tracker in self.trackers:
            tracker.summarize(result)

    def keep(self, files: Mapping[str, Path]) -> None:
        """See Tracker."""
        for tracker in self.trackers:
            tracker.keep(files)
