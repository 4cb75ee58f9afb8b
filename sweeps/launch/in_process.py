"""A sweep in this very process, one job after another."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from sweeps.launch.folder import Job, SweepFolder
from sweeps.launch.job import CellsFailed, JobRun


class InProcessLauncher:
    """Runs the jobs at once; breakpoints work, and failures are reported at the end as elsewhere."""

    name = "in_process"
    outlives_head = False
    runs_here = True
    poll_seconds = 0.0

    def start(self, jobs: Sequence[Job], folder: SweepFolder, logging: Any) -> None:
        """Run the jobs."""
        for job in sorted(jobs, key=lambda job: job.stage != "prepare"):
            folder.add_jobs({unit.id: {"launcher": self.name, "needs": job.needs} for unit in job.units})
            if job.needs is not None and folder.failure_path(job.needs).exists():
                continue
            with contextlib.suppress(CellsFailed):
                JobRun(folder.write_job(job, logging))()

    def step(self) -> None:
        """All is done."""

    def waiting(self) -> set[str]:
        """All is done."""
        return set()

    def stop(self) -> None:
        """All is done."""
