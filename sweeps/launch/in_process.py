"""A sweep in this very process, one job after another."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.grid.listed import ListedCell
from sweeps.grid.units import counted
from sweeps.launch.estimate import Estimates
from sweeps.launch.folder import FAILURE, Job, SweepFolder
from sweeps.launch.job import CellsFailed, JobRun
from sweeps.launch.overview import Overview, TimeToGo, quiet
from sweeps.launch.states import queries_of


class InProcessLauncher:
    """Runs the jobs at once; breakpoints work, and failures are reported at the end as elsewhere."""

    name = "in_process"
    outlives_head = False
    runs_here = True
    poll_seconds = 0.0

    def start(self, jobs: Sequence[Job], folder: SweepFolder, logging: Any) -> None:
        """Run the jobs; what they log goes to their files, and one line says how they stand."""
        standing = _Standing(jobs, folder)
        with Overview(standing.line).shown() as overview:
            for job in sorted(jobs, key=lambda job: job.stage != "prepare"):
                folder.add_jobs({unit.id: {"launcher": self.name, "needs": job.needs} for unit in job.units})
                standing.begin(job)
                overview.tell()
                if job.needs is not None and folder.failure_path(job.needs).exists():
                    continue
                with contextlib.suppress(CellsFailed):
                    JobRun(folder.write_job(job, quiet(logging)))()
                standing.end(job)

    def step(self) -> None:
        """All is done."""

    def waiting(self) -> set[str]:
        """All is done."""
        return set()

    def stop(self) -> None:
        """All is done."""


class _Standing:
    """How the cells stand, of which one job after another runs."""

    def __init__(self, jobs: Sequence[Job], folder: SweepFolder) -> None:
        self.cells = folder.cells()
        self.done = {cell.key for cell in self.cells if cell.is_done}
        self.weights = _weights(jobs)
        self.time = TimeToGo(sum(self.weights.values()))
        self.job: Job | None = None

    def begin(self, job: Job) -> None:
        self.job = job

    def end(self, job: Job) -> None:
        self.time.done += self.weights[job.name]

    def line(self) -> str:
        """Cells done, running and left, the time to go, and what is running."""
        running = self._running()
        left = len(self.cells) - len(self.done) - (running is not None)
        counts = (
            f"{counted(len(self.cells), 'cell')}: {len(self.done):,} done, "
            f"{int(running is not None)} running, {left:,} left{self.time.words()}"
        )
        if running is not None:
            return ", ".join(filter(None, [f"{counts}; now: {running.label}", queries_of(running)]))
        return f"{counts}; now: what several cells need" if self.job is not None else counts

    def _running(self) -> ListedCell | None:
        """The first cell of the job that is not done."""
        if self.job is None or self.job.stage == "prepare":
            return None
        own = {cell.key for unit in self.job.units for cell in unit.cells} - self.done
        under_way = [
            cell for cell in self.cells if cell.key in own and not (cell.directory / FAILURE).exists()
        ]
        self.done |= {cell.key for cell in under_way if cell.is_done}
        return next((cell for cell in under_way if cell.key not in self.done), None)


def _weights(jobs: Sequence[Job]) -> dict[str, float]:
    """What each job may take by the store, or as long as the others; in seconds where the store knows any."""
    estimates = Estimates(Path(jobs[0].units[0].cells[0].config["paths"]["store"]))
    known = {job.name: sum(estimates.seconds(unit) or 0.0 for unit in job.units) for job in jobs}
    seen = [seconds for seconds in known.values() if seconds]
    usual = sum(seen) / len(seen) if seen else 1.0
    return {name: seconds or usual for name, seconds in known.items()}
