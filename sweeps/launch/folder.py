"""What a sweep leaves beside its cells, in `<sweep>/.tollgate/`, so that anyone can take it over.

`plan.json` names the cells, `jobs.json` who runs which of them, `jobs/<name>.json` is what one job has to
do with the full config of each of its cells, `code-<hash>/` the code as it was at submission, `failures/`
what units without a folder of their own failed of, `logs/` what jobs printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from storage.errors import InputError
from storage.files import write_atomically, write_json, write_text
from storage.lock import HeartbeatLock
from sweeps.grid.listed import RECORDS, ListedCell, Listing, read_listing, write_listing
from sweeps.grid.units import Plan, PlannedCell, Stage, Unit

FAILURE = "failure.json"

PLACE = "place.json"
"""Where the sweep's folder was when jobs were put on record."""


@dataclass(frozen=True)
class Failure:
    """What a cell or a preparation failed of: the last line, and the whole traceback."""

    error: str
    traceback: str


@dataclass(frozen=True)
class Job:
    """Units that run in one job, all of one stage and with one need: so many `at_a_time`."""

    name: str
    stage: Stage
    units: tuple[Unit, ...]
    needs: str | None
    at_a_time: int = 1


class SweepFolder:
    """The files of one sweep."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.root = self.directory / RECORDS

    def write_plan(self, plan: Plan) -> None:
        """Put the cells on record."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_listing(self.directory, Listing([_listed(cell) for cell in plan.cells], plan.left_out))

    def cells(self) -> list[ListedCell]:
        """The cells on record, in the grid's order."""
        return read_listing(self.directory).cells

    def left_out(self) -> list[ListedCell]:
        """Cells of earlier commands that the last one does not have."""
        return read_listing(self.directory).left_out

    def alone(self, say: Callable[[str], None]) -> HeartbeatLock:
        """Held by the one head that may run the sweep; `say` is told of another's that is waited for."""
        self.root.mkdir(parents=True, exist_ok=True)
        return HeartbeatLock(self.root / "head.lock", stale_after=60.0, say=say)

    def _is_copied(self) -> bool:
        """Whether the records were copied with the folder, so that their jobs work for another one.

        A folder that was moved is the same to the file system, and may have another name on another machine.
        """
        try:
            made = json.loads((self.root / PLACE).read_text())
        except (OSError, ValueError):
            return False
        here = self._place()
        return all(made.get(name) != here[name] for name in here)

    def _place(self) -> dict[str, Any]:
        return {"directory": str(self.directory), "inode": self.directory.stat().st_ino}

    def jobs(self) -> dict[str, dict[str, Any]]:
        """For each unit ever started, the launcher and what that calls the job: the last one."""
        path = self.root / "jobs.json"
        if self._is_copied():
            return {}
        try:
            jobs = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            jobs = None
        if not isinstance(jobs, dict):
            raise InputError(f"{path} is damaged; delete it once none of the sweep's jobs runs any more")
        return jobs

    def add_jobs(self, started: Mapping[str, Mapping[str, Any]]) -> None:
        """Put on record who runs which units from now on."""
        self.set_jobs(self.jobs() | dict(started))

    def forget_jobs(self, units: Collection[str]) -> None:
        """Put on record that nobody runs these units: their last jobs say nothing of cells that are new."""
        jobs = self.jobs()
        if jobs.keys() & units:
            self.set_jobs({unit: record for unit, record in jobs.items() if unit not in units})

    def set_jobs(self, jobs: Mapping[str, Mapping[str, Any]]) -> None:
        """Put on record who runs which units, and forget all else."""
        write_json(self.root / "jobs.json", dict(jobs))
        write_json(self.root / PLACE, self._place())

    def job_path(self, name: str) -> Path:
        """The file of what a job has to do."""
        return self.root / "jobs" / f"{name}.json"

    def write_job(self, job: Job, logging: Any) -> Path:
        """Write what a job has to do, and forget what its units failed of before."""
        path = self.job_path(job.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        units = [{"id": unit.id, "cells": [self._entry(cell) for cell in unit.cells]} for unit in job.units]
        content = {"stage": job.stage, "units": units, "at_a_time": job.at_a_time, "logging": logging}
        # Keys stay in the config's order, which is that of stacked defenses and of a curve's columns.
        write_atomically(path, partial(write_text, text=json.dumps(content, indent=2)))
        for unit in job.units:
            self.failure_path(unit.id).unlink(missing_ok=True)
            if job.stage != "prepare":
                for cell in unit.cells:
                    (cell.directory / FAILURE).unlink(missing_ok=True)
        return path

    def _entry(self, cell: PlannedCell) -> dict[str, Any]:
        return {
            "directory": os.path.relpath(cell.directory.resolve(), self.directory),
            "key": cell.key,
            "label": cell.label,
            "overrides": list(cell.overrides),
            "config": cell.config,
        }

    def failure_path(self, unit: str) -> Path:
        """Where a preparation says what it failed of."""
        return self.root / "failures" / f"{unit}.json"

    def cluster_log_path(self, job: str) -> Path:
        """What a job of a cluster printed; Submitit names it."""
        return self.root / "slurm" / job / f"{job}_0_log.out"

    def log_path(self, name: str) -> Path:
        """What a local job printed."""
        path = self.root / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _listed(cell: PlannedCell) -> ListedCell:
    budget = cell.config["attack"]["budget"]
    return ListedCell(cell.directory, cell.key, cell.overrides, cell.extraction_key, cell.label, budget)


def write_failure(path: Path, error: BaseException) -> None:
    """Say what was failed of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = traceback.format_exception_only(error)
    whole = "".join(traceback.format_exception(error))
    write_json(path, {"error": lines[-1].strip(), "traceback": whole, "time": time.time()})


def read_failure(path: Path) -> Failure | None:
    """What was failed of, None where nothing was."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        content = json.loads(path.read_text())
        return Failure(content["error"], content["traceback"])
    return None


def pack(units: Iterable[Unit], cells_per_job: Mapping[Stage, int]) -> list[Job]:
    """Units put together into jobs of at least so many cells, where they have the same stage and need."""
    jobs: list[Job] = []
    waiting: dict[tuple[Stage, str | None], list[Unit]] = {}
    for unit in units:
        place = (unit.stage, unit.needs)
        together = waiting.setdefault(place, [])
        together.append(unit)
        if sum(len(one.cells) for one in together) >= cells_per_job[unit.stage]:
            jobs.append(_job(waiting.pop(place)))
    return jobs + [_job(together) for together in waiting.values()]


def share(jobs: Sequence[Job], at_a_time: int) -> list[Job]:
    """So many jobs put together into each, where they have the same stage and need, to run side by side."""
    alike: dict[tuple[Stage, str | None], list[Job]] = {}
    for job in jobs:
        alike.setdefault((job.stage, job.needs), []).append(job)
    groups = [same[at : at + at_a_time] for same in alike.values() for at in range(0, len(same), at_a_time)]
    return [
        replace(group[0], units=tuple(unit for job in group for unit in job.units), at_a_time=len(group))
        for group in groups
    ]


def _job(units: list[Unit]) -> Job:
    first = units[0]
    return Job(first.id, first.stage, tuple(units), first.needs)
