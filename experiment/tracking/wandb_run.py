"""A run of Weights & Biases: a cell's curve on an axis for each kind of cost, its figures and its files."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiment.tracking.figures import VALUES, axes_of, metric, summary_of

log = logging.getLogger(__name__)


class WandbTracker:
    """Logs rows to one W&B run.

    Args:
        run: The run, started.
        dataset: The data set's name, which the metrics' names begin with.
        measures: The privacy measures of the cell.
        artifacts: Names of files that are kept as artifacts.
    """

    def __init__(
        self, run: Any, dataset: str, measures: Iterable[str], artifacts: Collection[str] = ()
    ) -> None:
        self.run, self.dataset, self.axes = run, dataset, axes_of(measures)
        self.artifacts = artifacts
        self.logged = run.starting_step  # a row is a step, and a resumed run has some
        # Exact names: of several matching globs, W&B would take one at random.
        for axis, column in self.axes.items():
            run.define_metric(metric(dataset, axis, column), hidden=True)
            for value in VALUES:
                name = metric(dataset, axis, value)
                run.define_metric(name, step_metric=metric(dataset, axis, column))

    def log(self, curve: pd.DataFrame) -> None:
        """One W&B step a round: each value against queries, privacy costs, seconds and money; and the row."""
        for row in curve.iloc[self.logged :].to_dict("records"):
            point = {f"curve/{name}": value for name, value in row.items()}
            for axis, column in self.axes.items():
                if column in row:
                    point |= {metric(self.dataset, axis, name): row[name] for name in (column, *VALUES)}
            self.run.log(point)
        self.logged = max(self.logged, len(curve))

    def summarize(self, result: Mapping[str, Any]) -> None:
        """The final figures, losses, prices and artefact keys as the run's summary."""
        self.run.summary.update(summary_of(result))

    def keep(self, files: Mapping[str, Path]) -> None:
        """Log the chosen files as artifacts, one a kind and run."""
        import wandb

        for name, path in files.items():
            if name in self.artifacts and not path.is_file():
                log.warning("the %s is no artifact: %s is not there", name, path)
            elif name in self.artifacts:
                artifact = wandb.Artifact(f"{name}-{self.run.id}", type=name)
                artifact.add_file(str(path.resolve()))
                self.run.log_artifact(artifact)
