"""What a sweep says while it runs: one line on a terminal, and a line a minute elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner

from storage.durations import duration

SAY_EVERY = 60.0
"""Seconds between lines on progress where there is no terminal."""


class Overview:
    """A line that is kept up to date on a terminal, and printed now and then elsewhere."""

    def __init__(self, line: Callable[[], str]) -> None:
        """`line` says how the sweep stands; on a terminal it is asked every second."""
        self.line = line
        self.console = Console()
        self.said, self.last = "", float("-inf")
        self.spinner = Spinner("line")

    @contextmanager
    def shown(self) -> Iterator[Overview]:
        """Shows the line meanwhile; what else is printed stands above it. A breakpoint ends it."""
        if not self.console.is_terminal:
            self.tell()
            yield self
            return
        live = Live(console=self.console, get_renderable=self._drawn, refresh_per_second=1, transient=True)
        hook = sys.breakpointhook

        def stop_and_break(*arguments: Any, **options: Any) -> Any:
            live.stop()
            return hook(*arguments, **options)

        sys.breakpointhook = stop_and_break
        try:
            with live:
                yield self
        finally:
            sys.breakpointhook = hook

    def tell(self) -> None:
        """Print the line where there is no terminal, unless it has just been printed."""
        if self.console.is_terminal or time.monotonic() - self.last < SAY_EVERY:
            return
        line = self.line()
        if line != self.said:
            self.console.print(line, soft_wrap=True, highlight=False)
            self.said, self.last = line, time.monotonic()

    def _drawn(self) -> RenderableType:
        self.spinner.update(text=self.line())
        return self.spinner


class TimeToGo:
    """Guesses the time to go from the time gone since it began, by shares of the work."""

    def __init__(self, work: float) -> None:
        """`work` is how much there is to do, in any unit."""
        self.work, self.done, self.started = work, 0.0, time.monotonic()

    def words(self) -> str:
        """`; about 3.0 minutes to go`, or nothing while nothing is done or left."""
        if not 0 < self.done < self.work:
            return ""
        gone = time.monotonic() - self.started
        return f"; about {duration(gone * (self.work - self.done) / self.done)} to go"


class WarningsOnly(logging.Filter):
    """Lets warnings through; errors are said at the end, and the rest is in each cell's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is a warning."""
        return record.levelno == logging.WARNING


def quiet(config: dict[str, Any]) -> dict[str, Any]:
    """A logging config whose handlers without a file have warnings only."""
    config = deepcopy(config)
    config.setdefault("filters", {})["warnings"] = {"()": f"{__name__}.{WarningsOnly.__name__}"}
    for handler in config["handlers"].values():
        if "filename" not in handler:
            handler["filters"] = ["warnings"]
    return config
