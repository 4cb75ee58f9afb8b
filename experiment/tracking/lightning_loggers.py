"""Loggers of Lightning, which take a curve's figures with the number of queries as their step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd

from experiment.tracking.base import TrackedCell, Tracker
from experiment.tracking.figures import summary_of

log = logging.getLogger(__name__)


class LightningTracker:
    """Logs a curve to one of Lightning's loggers; one that fails costs the cell nothing."""

    def __init__(self, logger: Any, labels: Mapping[str, Any]) -> None:
        self.logger = logger
        self.logged, self.works = 0, True
        self._attempt(lambda: logger.log_hyperparams({name: _told(it) for name, it in labels.items()}))

    def log(self, curve: pd.DataFrame) -> None:
        """A step a row, which is the number of queries."""
        rows = curve.iloc[self.logged :].to_dict("records")
        self.logged = max(self.logged, len(curve))
        for row in rows:
            figures = {str(name): float(value) for name, value in row.items() if _is_figure(value)}
            self._attempt(lambda row=row, figures=figures: self._log(figures, int(row["queries"])))  # type: ignore[misc]

    def summarize(self, result: Mapping[str, Any]) -> None:
        """The result's figures at the last step; those that the curve has, too, stand there."""
        others = {name: it for name, it in summary_of(result).items() if not name.startswith("final/")}
        figures = {name: float(value) for name, value in others.items() if _is_figure(value)}
        self._attempt(lambda: self._log(figures, int(result["final"]["queries"])))

    def keep(self, files: Mapping[str, Path]) -> None:
        """Nothing: the files lie beside the cell's."""

    def finish(self, status: str) -> None:
        """Write what is not written yet."""
        self._attempt(lambda: self.logger.finalize(status))

    def _log(self, figures: dict[str, float], step: int) -> None:
        self.logger.log_metrics(figures, step=step)
        self.logger.save()

    def _attempt(self, action: Callable[[], Any]) -> None:
        if not self.works:
            return
        try:
            action()
        except Exception as error:
            self.works = False
            name = type(self.logger).__name__
            log.warning("%s is lost (%s: %s); the cell goes on", name, type(error).__name__, error)


def _is_figure(value: object) -> bool:
    return isinstance(value, Real)


def _told(value: object) -> object:
    return "" if value is None else value


@contextmanager
def _followed(logger: Any, cell: TrackedCell) -> Iterator[Tracker]:
    """The tracker of a cell, finished as the cell ends."""
    tracker = LightningTracker(logger, cell.labels)
    try:
        yield tracker
    except BaseException:
        tracker.finish("failed")
        raise
    tracker.finish("success")


@dataclass(frozen=True)
class Csv:
    """Lightning's CSV files, in `csv` in the cell's folder: metrics.csv and hparams.yaml."""

    @contextmanager
    def follow(self, cell: TrackedCell) -> Iterator[Tracker]:
        """See Logger; a cell that goes on writes its curve anew."""
        from pytorch_lightning.loggers import CSVLogger

        folder = cell.output / "csv"
        for name in ("metrics.csv", "hparams.yaml"):
            (folder / name).unlink(missing_ok=True)
        with _followed(CSVLogger(cell.output, "", "csv"), cell) as tracker:
            yield tracker


@dataclass(frozen=True)
class Tensorboard:
    """TensorBoard, in `tensorboard` in the cell's folder: `tensorboard --logdir SWEEP` shows a sweep."""

    def __post_init__(self) -> None:
        if not (find_spec("tensorboard") or find_spec("tensorboardX")):
            raise ValueError(_missing("tensorboard"))

    @contextmanager
    def follow(self, cell: TrackedCell) -> Iterator[Tracker]:
        """See Logger; what a cell that goes on had written before is purged."""
        from pytorch_lightning.loggers import TensorBoardLogger

        logger = TensorBoardLogger(cell.output, "", "tensorboard", default_hp_metric=False, purge_step=0)
        with _followed(logger, cell) as tracker:
            yield tracker


@dataclass(frozen=True)
class Mlflow:
    """MLflow: a run a cell, on the server or in the file at `uri`; None: where MLFLOW_TRACKING_URI says."""

    experiment: str
    uri: str | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (find_spec("mlflow") or find_spec("mlflow_skinny")):
            raise ValueError(_missing("mlflow"))

    @contextmanager
    def follow(self, cell: TrackedCell) -> Iterator[Tracker]:
        """See Logger."""
        from pytorch_lightning.loggers import MLFlowLogger

        logger = MLFlowLogger(
            self.experiment,
            run_name=cell.name,
            tracking_uri=self.uri,
            tags={"sweep": cell.sweep, **self.tags},
        )
        with _followed(logger, cell) as tracker:
            yield tracker


def _missing(package: str) -> str:
    return f"logger={package} needs the package {package}, which is not installed: pip install {package}"
