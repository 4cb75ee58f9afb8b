"""How the jobs and the cells of a sweep stand."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sweeps.grid.listed import ListedCell
from sweeps.grid.units import counted, unit_of
from sweeps.launch.cluster.job_log import explained
from sweeps.launch.cluster.jobs import slurm_states
from sweeps.launch.folder import FAILURE, SweepFolder, read_failure
from sweeps.launch.local import local_states
from sweeps.launch.types import JobState

CellWord = Literal[
    "done",
    "running",
    "pending",
    "not submitted",
    "failed",
    "cancelled",
    "timed out",
    "node lost",
    "out of memory",
    "lost",
]
UNDER_WAY = ("running", "pending", "not submitted")
"""Of which nothing is known yet that would be wrong."""


@dataclass(frozen=True)
class CellState:
    """A cell, how it stands, and more about it: its progress, or the last line of its error."""

    cell: ListedCell
    word: CellWord
    detail: str = ""


def job_states(folder: SweepFolder) -> dict[str, JobState]:
    """How each unit's last job stands; raises ClusterSilent where the cluster does not answer."""
    records = _of_the_plan(folder)
    slurm = {unit: record["job"] for unit, record in records.items() if record["launcher"] == "slurm"}
    local = {unit: record for unit, record in records.items() if record["launcher"] == "local"}
    known = slurm_states(set(slurm.values()))
    ended = {
        job: state if _needs_no_word(state) else explained(state, folder.cluster_log_path(job))
        for job, state in known.items()
    }
    return {unit: ended[job] for unit, job in slurm.items()} | local_states(local)


def _of_the_plan(folder: SweepFolder) -> dict[str, dict[str, Any]]:
    """The records of what the cells of the last command need."""
    records = folder.jobs()
    units = {unit_of(cell.extraction) for cell in folder.cells()}
    needed = {record["needs"] for unit, record in records.items() if unit in units}
    return {unit: record for unit, record in records.items() if unit in units | needed}


def _needs_no_word(state: JobState) -> bool:
    return state.under_way or "COMPLETED" in state.detail


def cell_states(folder: SweepFolder, jobs: Mapping[str, JobState]) -> list[CellState]:
    """How each cell of the plan stands, in the grid's order."""
    records = folder.jobs()
    seen: set[str] = set()
    states = []
    for cell in folder.cells():
        unit = unit_of(cell.extraction)
        state = _cell_state(cell, jobs.get(unit), unit in seen)
        needs = records.get(unit, {}).get("needs")
        if needs and state.word in ("cancelled", "lost", "pending", "not submitted"):
            state = _without_need(cell, folder, needs, jobs.get(needs)) or state
        if state.word == "running":
            seen.add(unit)  # the cells of a unit run one after another
        states.append(state)
    return states


def _without_need(
    cell: ListedCell, folder: SweepFolder, needs: str, job: JobState | None
) -> CellState | None:
    """How a cell stands whose preparation did not end well; None where it did, or is under way."""
    if job is not None and job.under_way:
        return None
    failure = read_failure(folder.failure_path(needs))
    if failure is not None:
        told = f"what it needs failed: {failure.error}; see {folder.log_path(needs)}"
        return CellState(cell, "failed", told)
    if job is None or job.word == "ended":
        return None
    return CellState(cell, job.word, f"what it needs ({needs}) did not end well: {job.word}; {job.detail}")


def _cell_state(cell: ListedCell, job: JobState | None, another_runs: bool) -> CellState:
    if cell.is_done:
        return CellState(cell, "done")
    failure = read_failure(cell.directory / FAILURE)
    if failure is not None:
        timed_out = "timed-out too many times" in failure.error
        told = f"{failure.error}; see {cell.directory / 'log'}"
        return CellState(cell, "timed out" if timed_out else "failed", told)
    if job is None:
        return CellState(cell, "not submitted")
    if job.word == "pending":
        return CellState(cell, "pending", job.detail)
    if job.word == "running":
        return CellState(cell, "pending") if another_runs else CellState(cell, "running", queries_of(cell))
    return CellState(cell, "lost" if job.word == "ended" else job.word, job.detail)


def queries_of(cell: ListedCell) -> str:
    """How far its attacker has come; nothing before the first round."""
    queries = _last_queries(cell.directory / "curve.csv")
    return f"{queries:,} of {cell.budget:,} queries" if queries else ""


def _last_queries(curve: Path) -> int:
    try:
        with curve.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return int(float(rows[-1]["queries"]))
    except (OSError, IndexError, KeyError, ValueError):
        return 0


def counts(states: Iterable[CellState]) -> dict[str, int]:
    """How many cells stand how."""
    return dict(Counter(state.word for state in states))


def sentence(states: Iterable[CellState]) -> str:
    """The counts in a line."""
    numbers = counts(states)
    total = sum(numbers.values())
    return f"{counted(total, 'cell')}: " + ", ".join(f"{count:,} {word}" for word, count in numbers.items())
