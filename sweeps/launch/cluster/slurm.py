"""A sweep on SLURM: victims first, then the cells as arrays that depend on just what they need."""

from __future__ import annotations

import contextlib
import io
import logging
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import submitit

from storage.errors import InputError
from storage.options import check_number
from sweeps.grid.units import Stage
from sweeps.launch.cluster.jobs import HELD, cancel, release, slurm_states
from sweeps.launch.cluster.limits import largest_array, largest_node
from sweeps.launch.cluster.resources import REFUSALS, Resources, refusal, submitit_parameters
from sweeps.launch.cluster.side_by_side import IGNORING
from sweeps.launch.folder import Job, SweepFolder, share
from sweeps.launch.job import JobRun
from sweeps.launch.snapshot import environment, snapshot
from sweeps.launch.types import ClusterSilent

log = logging.getLogger(__name__)

THREADS = ('export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"', "export OMP_WAIT_POLICY=PASSIVE")
"""As many threads as a job has processors: where the cluster does not bind jobs, each would take the node."""

UNTIL_HANDLED = f"sh -c '{IGNORING}' "
"""Ignores the signals before a time limit or a preemption until Submitit handles them: Python dies of one
while it starts, and a job that dies by itself is not requeued."""

TOO_MANY = ("MaxSubmitJob", "GrpSubmitJob", "MaxJobCount", "temporarily unable to accept")
"""What sbatch says where the user has as many jobs as may be: some more will do later."""


class SlurmLauncher:
    """Submits jobs through Submitit.

    What a job asks for comes from `resources` of its stage, else from what is given for all stages by the
    names of Submitit (partition, timeout_min, mem_gb, ...), else from `usual` of its stage. A job that a
    time limit cuts is requeued up to `max_num_timeout` times, after a signal `signal_delay_s` before the
    limit; it resumes from its last answer. What the cluster does not take at once is submitted in portions.
    """

    name = "slurm"
    outlives_head = True
    runs_here = False

    def __init__(
        self,
        resources: Mapping[Stage, Mapping[str, Any]],
        usual: Mapping[Stage, Mapping[str, Any]],
        array_parallelism: int = 256,
        array_size: int = 1000,
        cells_per_gpu: int = 1,
        max_num_timeout: int = 20,
        signal_delay_s: int = 120,
        setup: Sequence[str] | None = None,
        python: str | None = None,
        additional_parameters: Mapping[str, Any] | None = None,
        poll_seconds: float = 5.0,
        **for_all: Any,
    ) -> None:
        self.resources = Resources(usual, for_all, resources)
        _check(array_parallelism, array_size, max_num_timeout, signal_delay_s, additional_parameters)
        self.cells_per_gpu = cells_per_gpu
        self._check_sharing()
        self.array_parallelism, self.array_size = array_parallelism, array_size
        self.max_num_timeout, self.signal_delay_s = max_num_timeout, signal_delay_s
        self.setup = [setup] if isinstance(setup, str) else list(setup or [])
        self.python = UNTIL_HANDLED + (python or shlex.quote(sys.executable))
        self.additional_parameters = dict(additional_parameters or {})
        self.poll_seconds = poll_seconds
        self.portions: list[list[Job]] = []
        self.released: set[str] = set()

    def start(self, jobs: Sequence[Job], folder: SweepFolder, logging: Any) -> None:
        """Submit the jobs, each group with the same stage and need as an array.

        Raises InputError where SLURM refuses one; then none of them is submitted.
        """
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise InputError(
                "hydra/launcher=slurm: there is no sbatch and srun here; hydra/launcher=local runs the same "
                "sweep on this machine"
            )
        self.folder = folder
        self.exports = [
            f"export {name}={shlex.quote(value)}"
            for name, value in environment(snapshot(folder.root)).items()
        ]
        self.largest = {job.stage: self._largest_node(job.stage) for job in jobs}
        jobs = self._shared(jobs)
        for job in jobs:
            folder.write_job(job, logging)
        self.portions = _portions(jobs, min(self.array_size, largest_array() or self.array_size))
        before = folder.jobs()
        try:
            self.step()
        except InputError:
            new = {unit: record for unit, record in folder.jobs().items() if record != before.get(unit)}
            cancel({record["job"] for record in new.values()})
            folder.set_jobs(before)
            raise

    def _check_sharing(self) -> None:
        name = "hydra.launcher.cells_per_gpu"
        try:
            check_number(name, self.cells_per_gpu, 1, whole=True)
        except ValueError as error:
            raise InputError(str(error)) from error
        gpus = self.resources.asked("extract").get("gpus_per_node", 1)
        if self.cells_per_gpu > 1 and gpus > 1:
            raise InputError(f"{name} is of jobs with one GPU each; leave out gpus_per_node={gpus}")

    def _shared(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs, of which those that run extractions on a GPU are put together to share it."""
        sharing = [job for job in jobs if job.stage == "extract" and self._has_gpu(job)]
        others = [job for job in jobs if job not in sharing]
        return others + share(sharing, self.cells_per_gpu)

    def _has_gpu(self, job: Job) -> bool:
        return bool(_wants_gpu(job) or self.resources.asked(job.stage).get("gpus_per_node"))

    def step(self) -> None:
        """Submit as many of the jobs that are left as the cluster takes now, and let go what it holds."""
        with contextlib.suppress(ClusterSilent):  # the next step asks again
            self._release_held()
            while self.portions:
                portion = self.portions[0]
                taken = self._submit_some(portion)
                self.portions[0] = portion[taken:]
                if self.portions[0]:
                    return
                self.portions.pop(0)

    def _release_held(self) -> None:
        """Once for each job: a node that came back may not have known that its job was elsewhere."""
        mine = {record["job"] for record in self.folder.jobs().values() if record["launcher"] == self.name}
        states = slurm_states(mine)
        held = {job for job in mine if states[job].word == "pending" and states[job].detail == HELD}
        release(held - self.released)
        self.released |= held

    def _submit_some(self, jobs: list[Job]) -> int:
        """Submit the first so many of the jobs as the cluster takes; returns how many these are."""
        if (after := self._dependency(jobs[0].needs)) is None:
            self.folder.add_jobs(
                {
                    unit.id: {"launcher": "none", "job": None, "needs": job.needs}
                    for job in jobs
                    for unit in job.units
                }
            )
            return len(jobs)
        count = len(jobs)
        while count:
            try:
                self._submit(jobs[:count], after)
                return count
            except REFUSALS as error:
                said = refusal(error)
                if not any(words.lower() in said.lower() for words in TOO_MANY):
                    raise InputError(
                        f"hydra.launcher: SLURM takes no jobs of stage {jobs[0].stage}: {said}"
                    ) from error
                count //= 2
        return 0

    def _dependency(self, needs: str | None) -> dict[str, str] | None:
        """Of sbatch, for jobs that need that unit; None where it has failed."""
        if needs is None:
            return {}
        job = self.folder.jobs()[needs]["job"]
        state = slurm_states([job])[job]
        if state.under_way:
            return {"dependency": f"afterok:{job}", "kill-on-invalid-dep": "yes"}
        return {} if state.word == "ended" and not self.folder.failure_path(needs).exists() else None

    def _submit(self, jobs: Sequence[Job], after: dict[str, str]) -> None:
        executor = submitit.AutoExecutor(
            self.folder.root / "slurm" / "%j",
            cluster="slurm",
            slurm_max_num_timeout=self.max_num_timeout,
            slurm_python=self.python,
        )
        runs = [JobRun(self.folder.job_path(job.name)) for job in jobs]
        with contextlib.redirect_stderr(io.StringIO()):  # Submitit prints there what it raises
            executor.update_parameters(**self._parameters(jobs, after))
            with executor.batch():
                submitted = [executor.submit(run) for run in runs]
        self.folder.add_jobs(
            {
                unit.id: {"launcher": self.name, "job": str(one.job_id), "needs": job.needs}
                for job, one in zip(jobs, submitted, strict=True)
                for unit in job.units
            }
        )

    def _parameters(self, jobs: Sequence[Job], after: dict[str, str]) -> dict[str, Any]:
        stage = jobs[0].stage
        cells = [cell.label for job in jobs for unit in job.units for cell in unit.cells]
        gpus = int(stage != "price" and any(_wants_gpu(job) for job in jobs))
        at_a_time = max(job.at_a_time for job in jobs)
        asked = self.resources.of(stage, self.largest[stage], gpus, at_a_time)
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        return submitit_parameters({"comment": cells[0] + more} | asked) | {
            "name": f"tollgate {stage} {cells[0]}{more}",
            "stderr_to_stdout": True,
            "slurm_array_parallelism": self.array_parallelism,
            "slurm_signal_delay_s": min(self.signal_delay_s, 30 * int(asked["timeout_min"])),
            "slurm_setup": [*THREADS, *self.setup, *self.exports],
            "slurm_additional_parameters": {"requeue": True} | self.additional_parameters | after,
        }

    def _largest_node(self, stage: Stage) -> Any:
        partition = self.additional_parameters.get("partition")
        return largest_node(self.resources.asked(stage).get("partition", partition))

    def waiting(self) -> set[str]:
        """Units that the cluster has not taken yet."""
        return {unit.id for portion in self.portions for job in portion for unit in job.units}

    def stop(self) -> None:
        """The jobs go on."""


def _portions(jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Jobs with the same stage and need together, at most so many, and preparations first."""
    in_order = sorted(jobs, key=lambda job: (job.stage != "prepare", job.stage, job.needs or ""))
    portions = []
    for _, group in groupby(in_order, key=lambda job: (job.stage, job.needs)):
        together = list(group)
        portions += [together[first : first + size] for first in range(0, len(together), size)]
    return portions


def _wants_gpu(job: Job) -> bool:
    return any(cell.config["trainer"]["accelerator"] == "gpu" for unit in job.units for cell in unit.cells)


def _check(parallelism: int, size: int, timeouts: int, delay: int, additional: Any) -> None:
    """Raise InputError for a value that cannot be meant."""
    numbers = {
        "array_parallelism": (parallelism, 1),
        "array_size": (size, 1),
        "max_num_timeout": (timeouts, 0),
        "signal_delay_s": (delay, 0),
    }
    try:
        for name, (value, least) in numbers.items():
            check_number(f"hydra.launcher.{name}", value, least, whole=True)
    except ValueError as error:
        raise InputError(str(error)) from error
    if additional is not None and not isinstance(additional, Mapping):
        raise InputError(
            "hydra.launcher.additional_parameters must be options of sbatch and their values, such as "
            f"{{account: mine}}, not {additional!r}"
        )
