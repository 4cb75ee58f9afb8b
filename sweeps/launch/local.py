"""A sweep over processes of this machine, as many at a time as its cores and its memory take."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from sweeps.launch.folder import Job, SweepFolder
from sweeps.launch.fork_server import ForkServer
from sweeps.launch.snapshot import environment, snapshot
from sweeps.launch.types import JobState


class LocalLauncher:
    """Runs each job in a process of its own.

    `processes` run at a time (null: one for each core), and another one begins only while `memory_gb` are
    free for it. Jobs of a head that was killed go on; those that it had not begun wait for the next head.
    """

    name = "local"
    outlives_head = False
    runs_here = True
    poll_seconds = 0.5

    def __init__(self, processes: int | None = None, memory_gb: float = 2.0) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if processes is not None and processes < 1:
            raise ValueError(f"hydra.launcher.processes must be at least 1, or null, not {processes}")
        self.processes = processes or cores
        self.memory = memory_gb * 2**30
        self.threads = max(1, cores // self.processes)
        self.queue: list[Job] = []
        self.running: dict[str, tuple[Job, int]] = {}
        self.server: ForkServer | None = None

    def start(self, jobs: Sequence[Job], folder: SweepFolder, logging: Any) -> None:
        """Queue the jobs, those that others need first."""
        self.folder = folder
        variables = os.environ | environment(snapshot(folder.root))
        variables |= {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        variables["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # else to look for a card forbids its use in a fork
        self.server = ForkServer(variables)
        for job in jobs:
            folder.write_job(job, logging)
        self.queue = sorted(jobs, key=lambda job: job.stage != "prepare")

    def step(self) -> None:
        """Reap what has ended and begin what there is room for."""
        self._reap()
        for job in list(self.queue):
            if not self._has_room():
                return
            match self._need(job):
                case "met":
                    self.queue.remove(job)
                    self._begin(job)
                case "failed":
                    self.queue.remove(job)
                    self._refuse(job)
        if self.server is not None and not self.queue and not self.running:
            self._close()

    def _reap(self, seconds: float = 0) -> None:
        """Record what has ended; waits that long for the first."""
        if self.server is None:
            return
        self.server.poll(seconds)
        for name, (job, pid) in list(self.running.items()):
            if pid in self.server.ended:
                del self.running[name]
                self._record(job, pid, None, self.server.ended[pid])

    def _has_room(self) -> bool:
        if len(self.running) >= self.processes:
            return False
        return not self.running or psutil.virtual_memory().available >= self.memory

    def _need(self, job: Job) -> str:
        """Whether what the job needs is `met`, `failed`, or still awaited: `open`."""
        if job.needs is None:
            return "met"
        if job.needs in self.waiting() or job.needs in self.running:
            return "open"
        record = self.folder.jobs().get(job.needs)
        if record is None:
            return "open"
        state = local_states({job.needs: record})[job.needs]
        if state.under_way:
            return "open"
        return "failed" if self.folder.failure_path(job.needs).exists() or state.word != "ended" else "met"

    def _begin(self, job: Job) -> None:
        assert self.server is not None, "queued jobs have been started"
        pid, born = self.server.fork(self.folder.job_path(job.name), self.folder.log_path(job.name))
        self.running[job.name] = job, pid
        self._record(job, pid, born, None)

    def _record(self, job: Job, pid: int, born: float | None, code: int | None) -> None:
        record = {
            "launcher": self.name,
            "host": socket.gethostname(),
            "pid": pid,
            "born": born,
            "code": code,
            "needs": job.needs,
        }
        self.folder.add_jobs({unit.id: record for unit in job.units})

    def _refuse(self, job: Job) -> None:
        record = {"launcher": self.name, "needs": job.needs, "code": 1, "pid": None, "born": None}
        self.folder.add_jobs({unit.id: record for unit in job.units})

    def waiting(self) -> set[str]:
        """Units in the queue."""
        return {unit.id for job in self.queue for unit in job.units}

    def stop(self) -> None:
        """End the processes; what they have answered is kept."""
        self.queue = []
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while self.running and time.monotonic() < deadline:
            self._reap(0.1)
        self._signal(signal.SIGKILL)
        while self.running:
            self._reap(0.1)
        self._close()

    def _signal(self, number: int) -> None:
        for _, pid in self.running.values():
            with contextlib.suppress(ProcessLookupError):  # it may have just ended
                os.kill(pid, number)

    def _close(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None


def local_states(records: Mapping[str, Mapping[str, Any]]) -> dict[str, JobState]:
    """How jobs of local launchers stand; those of another machine are taken to run."""
    return {unit: _state(record) for unit, record in records.items()}


TERMINATED = 128 + signal.SIGTERM
"""The exit code of a process that was told to terminate and could still clean up."""


def _state(record: Mapping[str, Any]) -> JobState:
    code = record["code"]
    if code is None and _lives(record):
        return JobState("running")
    if code is None:
        return JobState("ended", "its process is gone")
    if code < 0 or code == TERMINATED:
        number = -code if code < 0 else signal.SIGTERM
        return JobState("cancelled", f"its process was ended by signal {number:d}")
    return JobState("ended" if code == 0 else "failed", f"exit code {code}")


def _lives(record: Mapping[str, Any]) -> bool:
    if record["host"] != socket.gethostname():
        return True
    try:
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["born"]) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
