"""Weights & Biases as an option: one run a cell, by the names and in the groups that the user wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiment.tracking.base import TrackedCell, Tracker
from experiment.tracking.labels import run_id
from experiment.tracking.lasting import LastingTracker
from experiment.tracking.wandb_run import WandbTracker
from experiment.tracking.wandb_service import init, mode_of, set_by_user, termination_raises
from experiment.tracking.wandb_words import LONGEST_TAG, check_environment, check_project, check_tags

PROJECT = "tollgate"
"""Where the user names none."""


@dataclass(frozen=True)
class Wandb:
    """Where runs go and what they are called; what is None here is as the user has set W&B.

    Attributes:
        directory: Its folder `wandb` holds the files of runs.
        project, entity, mode: Of W&B; online only with a key.
        group: Of runs; None: the sweep's name.
        name: Of the run; None: what the cell is, in a few words.
        tags: Beside the cell's own.
        notes: Of the run.
        artifacts: What of a cell is kept as artifacts.
        summary: Whether a sweep has a run that sums it up.
    """

    directory: str
    project: str | None = None
    entity: str | None = None
    mode: Literal["online", "offline", "disabled"] | None = None
    group: str | None = None
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    artifacts: list[Literal["trace", "substitute"]] = field(default_factory=list)
    summary: bool = True

    def __post_init__(self) -> None:
        check_project(self.project, "logger.wandb.project")
        check_tags(self.tags, "logger.wandb.tags")
        check_environment()

    @contextmanager
    def follow(self, cell: TrackedCell) -> Iterator[Tracker]:
        """See Logger; W&B is offline without a key, and never prompts."""
        told = self.told_of(cell)
        dataset, measures = cell.labels["dataset"], list(cell.config["privacy"]["measures"])
        with termination_raises():
            tracker = LastingTracker(
                lambda: self.start(told),
                lambda run: WandbTracker(run, dataset, measures, self.artifacts),
                told,
                cell.output,
            )
            try:
                yield tracker
            except BaseException:
                tracker.finish(exit_code=1)
                raise
            tracker.finish(exit_code=0)

    def start(self, told: Mapping[str, Any]) -> Any:
        """Start a run, given what `wandb.init` is told of it; offline where no server answers."""
        return init({**told, **self._by_user(told)}, mode_of(self.mode), Path(self.directory))

    def start_online(self, told: Mapping[str, Any], directory: Path) -> Any:
        """Start a run online, or raise what W&B raises; its files go below `directory`."""
        return init({**told, **self._by_user(told)}, "online", directory, or_offline=False)

    def told_of(self, cell: TrackedCell) -> dict[str, Any]:
        """What `wandb.init` is told of a cell; its options stand below `options`, beside the labels."""
        labels = cell.labels
        own = [labels["dataset"], labels["attack"], *(cell.config["defense"] or ["none"])]
        own = [str(tag)[:LONGEST_TAG] for tag in own]
        config = {**labels, "sweep_name": cell.sweep, "options": dict(cell.config)}
        return self.told(run_id(labels["cell"]), cell.name, cell.sweep, labels["attack"], own, config)

    def told(
        self, ident: str, name: str, sweep: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What `wandb.init` is told of a run, with what options say in place of ours."""
        ours = {"id": ident, "job_type": kind, "tags": [*tags, *self.tags], "config": dict(config)}
        chosen = {"name": self.name or name, "group": self.group or sweep, "notes": self.notes}
        return ours | {key: value for key, value in chosen.items() if value is not None}

    def _by_user(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Where the run belongs, and what the user has set for W&B itself where no option says otherwise."""
        user = set_by_user()
        chosen = {
            "project": self.project or user.project or PROJECT,
            "entity": self.entity,
            "name": None if self.name else user.run_name,
            "group": None if self.group else user.run_group,
            "tags": [*told["tags"], *(user.run_tags or [])],
        }
        return {key: value for key, value in chosen.items() if value is not None}
