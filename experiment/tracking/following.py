"""The trackers of a cell: one for each logger that `logger` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from experiment.tracking.base import Logger, TrackedCell, Tracker, Trackers
from storage.options import instantiate


@contextmanager
def follow(cell: TrackedCell) -> Iterator[Tracker]:
    """The trackers of the loggers in the cell's config, as one; a cell that raises is recorded as failed."""
    loggers: list[Logger] = [
        instantiate(node, f"logger.{name}") for name, node in cell.config["logger"].items()
    ]
    with ExitStack() as followed:
        yield Trackers([followed.enter_context(logger.follow(cell)) for logger in loggers])
