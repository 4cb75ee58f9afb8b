"""A sweep on SLURM: victims first, then the cells as arrays that depend on just what they need."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import submitit
from submitit.core.job_environment import JobEnvironment

from storage.errors import InputError
from sweeps.grid.units import Stage
from sweeps.launch.folder import Job, SweepFolder
from sweeps.launch.job import JobRun
from sweeps.launch.snapshot import environment, snapshot

THREADS = ('export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"', "export OMP_WAIT_POLICY=PASSIVE")
"""As many threads as a job has processors: where the cluster does not bind jobs, each would take the node."""


PYTHON = f'sh -c \'trap "" {JobEnvironment.USR_SIG}; exec "$0" "$@"\' {shlex.quote(sys.executable)}'
"""Ignores the signal before a time limit until Submitit handles it: Python dies of one while it starts."""


class SlurmLauncher:
    """Submits jobs through Submitit.

    `resources` names, for each stage, Submitit's parameters of a job (timeout_min, cpus_per_task, mem_gb,
    gpus_per_node, partition, ...). A job that a time limit cuts is requeued up to `max_num_timeout` times,
    after a signal `signal_delay_s` before the limit; it resumes from its last answer.
    """

    name = "slurm"
    outlives_head = True

    def __init__(
        self,
        resources: Mapping[Stage, Mapping[str, Any]],
        array_parallelism: int = 256,
        array_size: int = 1000,
        max_num_timeout: int = 20,
        signal_delay_s: int = 120,
        setup: Sequence[str] = (),
        additional_parameters: Mapping[str, Any] | None = None,
        poll_seconds: float = 5.0,
    ) -> None:
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise InputError(
                "hydra/launcher=slurm: there is no sbatch and srun here; hydra/launcher=local runs the same "
                "sweep on this machine"
            )
        self.resources = resources
        self.array_parallelism, self.array_size = array_parallelism, array_size
        self.max_num_timeout, self.signal_delay_s = max_num_timeout, signal_delay_s
        self.setup = list(setup)
        self.additional_parameters = dict(additional_parameters or {})
        self.poll_seconds = poll_seconds

    def start(self, jobs: Sequence[Job], folder: SweepFolder, logging: Any) -> None:
        """Submit the jobs, each group with the same stage and need as an array."""
        code = snapshot(folder.root)
        exports = [f"export {name}='{value}'" for name, value in environment(code).items()]
        in_order = sorted(jobs, key=lambda job: (job.stage != "prepare", job.stage, job.needs or ""))
        for (stage, needs), group in groupby(in_order, key=lambda job: (job.stage, job.needs)):
            together = list(group)
            for first in range(0, len(together), self.array_size):
                part = together[first : first + self.array_size]
                self._submit(part, stage, needs, folder, exports, logging)

    def _submit(
        self,
        jobs: Sequence[Job],
        stage: Stage,
        needs: str | None,
        folder: SweepFolder,
        exports: list[str],
        logging: Any,
    ) -> None:
        runs = [JobRun(folder.write_job(job, logging)) for job in jobs]
        executor = submitit.SlurmExecutor(
            folder.root / "slurm" / "%j", max_num_timeout=self.max_num_timeout, python=PYTHON
        )
        try:
            executor.update_parameters(**self._parameters(stage, needs, folder, exports))
            submitted = _submit_all(executor, runs)
        except (ValueError, TypeError, submitit.core.utils.FailedSubmissionError) as error:
            raise InputError(f"hydra.launcher: SLURM refused the jobs of stage {stage}: {error}") from error
        folder.add_jobs(
            {
                unit.id: {"launcher": self.name, "job": str(one.job_id), "needs": needs}
                for job, one in zip(jobs, submitted, strict=True)
                for unit in job.units
            }
        )

    def _parameters(
        self, stage: Stage, needs: str | None, folder: SweepFolder, exports: list[str]
    ) -> dict[str, Any]:
        additional = {"requeue": True} | self.additional_parameters
        if needs is not None:
            job = folder.jobs()[needs]["job"]
            additional |= {"dependency": f"afterok:{job}", "kill-on-invalid-dep": "yes"}
        given = {name: value for name, value in self.resources[stage].items() if value is not None}
        names = submitit.SlurmExecutor._equivalence_dict()
        return {
            "job_name": f"tollgate-{stage}",
            "array_parallelism": self.array_parallelism,
            "signal_delay_s": self.signal_delay_s,
            "stderr_to_stdout": True,
            "setup": [*THREADS, *self.setup, *exports],
            "additional_parameters": additional,
        } | {str(names.get(name, name)): value for name, value in given.items()}

    def step(self) -> None:
        """The cluster works by itself."""

    def waiting(self) -> set[str]:
        """All is submitted."""
        return set()

    def stop(self) -> None:
        """The jobs go on."""


def _submit_all(executor: submitit.SlurmExecutor, runs: Sequence[JobRun]) -> list[submitit.Job[None]]:
    with executor.batch():
        return [executor.submit(run) for run in runs]
