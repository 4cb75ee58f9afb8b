"""A tracker that outlives Weights & Biases' service: without it, the curve is handed in at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from experiment.tracking.arrival import Arrival, note, noted
from experiment.tracking.wandb_run import WandbTracker
from experiment.tracking.wandb_service import forget_service

log = logging.getLogger(__name__)


def begun(run: Any, told: Mapping[str, Any]) -> Arrival:
    """The record of a run that has begun, given what W&B was told of it."""
    folder = str(Path(run.settings.sync_dir).resolve()) if run.offline else None
    return Arrival(told, folder, online=not run.offline)


class LastingTracker:
    """A WandbTracker that outlives W&B's service, a process of its own, which the cell does not need.

    Args:
        start: Starts the cell's run, or goes on in it.
        make: Makes the tracker of a started run.
        told: What W&B is told of the run, for the record.
        output: Where the record lies.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        make: Callable[[Any], WandbTracker],
        told: Mapping[str, Any],
        output: Path,
    ) -> None:
        self.start, self.make, self.told, self.output = start, make, told, output
        self.curve: pd.DataFrame | None = None
        self.result: Mapping[str, Any] | None = None
        self.files: Mapping[str, Path] = {}
        self.tracker: WandbTracker | None = None
        try:
            self.tracker = self._started()
        except Exception as error:
            self._say_lost(error)

    def log(self, curve: pd.DataFrame) -> None:
        """See Tracker."""
        self.curve = curve
        self._attempt(lambda tracker: tracker.log(curve))

    def summarize(self, result: Mapping[str, Any]) -> None:
        """See Tracker."""
        self.result = result
        self._attempt(lambda tracker: tracker.summarize(result))

    def keep(self, files: Mapping[str, Path]) -> None:
        """See Tracker."""
        self.files = files
        if (known := noted(self.output)) is not None:
            note(self.output, replace(known, substitute=self._substitute))
        self._attempt(lambda tracker: tracker.keep(files))

    def finish(self, exit_code: int) -> None:
        """End the run; where the service was lost, start another one, and hand in what it missed."""
        self._attempt(lambda tracker: self._ended(tracker, exit_code))
        if self.tracker is not None:
            return
        try:
            forget_service()
            tracker = self._started()
            if self.curve is not None:
                tracker.log(self.curve)
            if self.result is not None:
                tracker.summarize(self.result)
            tracker.keep(self.files)
            self._ended(tracker, exit_code)
            log.info("the curve was handed in to Weights & Biases after all")
        except Exception as error:
            forget_service()
            note(self.output, Arrival(self._record, substitute=self._substitute))
            log.warning(
                "the curve could not be handed in to Weights & Biases (%s); the cell's own files are whole, "
                "and tollgate sync %s hands it in",
                error,
                self.output,
            )

    @property
    def _record(self) -> dict[str, Any]:
        """What W&B is told but for the options, which lie in the cell's config.yaml."""
        config = {name: it for name, it in self.told["config"].items() if name != "options"}
        return {**self.told, "config": config}

    @property
    def _substitute(self) -> str | None:
        path = self.files.get("substitute")
        return None if path is None else str(path.resolve())

    def _started(self) -> WandbTracker:
        run = self.start()
        if not run.disabled:
            note(self.output, begun(run, self._record))
        return self.make(run)

    def _ended(self, tracker: WandbTracker, exit_code: int) -> None:
        run = tracker.run
        run.finish(exit_code=exit_code)
        if not run.disabled and not run.offline:
            note(self.output, Arrival(self._record, arrived=True))

    def _attempt(self, action: Callable[[WandbTracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            action(self.tracker)
        except Exception as error:  # of whatever kind: of W&B's, of its socket
            self.tracker = None
            self._say_lost(error)

    def _say_lost(self, error: Exception) -> None:
        log.warning("Weights & Biases is lost (%s: %s); the cell goes on", type(error).__name__, error)
