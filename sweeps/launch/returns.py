"""What a launch gives back to Hydra's sweeper: how each cell ended, and its objective."""

from __future__ import annotations

import json
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from experiment.pricing.objective import objective_of
from sweeps.grid.units import Plan, PlannedCell
from sweeps.launch.folder import FAILURE, read_failure


class CellFailed(Exception):
    """A cell has no result; the message names it."""


def job_returns(plan: Plan, first: int = 0) -> list[JobReturn]:
    """Of the grid's cells from the `first` on, in the order in which they were given."""
    cells = {cell.key: cell for cell in plan.cells}
    return [_return_of(cells[key]) for key in plan.keys[first:]]


def result_of(cell: PlannedCell) -> dict[str, Any]:
    """What the result of a cell that is done holds."""
    content: dict[str, Any] = json.loads((cell.directory / "result.json").read_text())
    return content


def _return_of(cell: PlannedCell) -> JobReturn:
    told = JobReturn(overrides=cell.overrides, working_dir=str(cell.directory), task_name="run")
    if cell.is_done:
        told.status = JobStatus.COMPLETED
        told.return_value = objective_of(cell.config, result_of(cell))
        return told
    failure = read_failure(cell.directory / FAILURE)
    told.status = JobStatus.FAILED
    told.return_value = CellFailed(f"{cell.label}: {failure.error if failure else 'it has no result'}")
    return told
