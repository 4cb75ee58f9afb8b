"""Asking SLURM how jobs stand: squeue for those that it has, sacct for what became of the others."""

from __future__ import annotations

import subprocess
from collections.abc import Collection

from sweeps.launch.types import ClusterSilent, JobState, JobWord

ENDINGS: dict[str, JobWord] = {
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "PREEMPTED": "cancelled",
    "REVOKED": "cancelled",
    "TIMEOUT": "timed out",
    "DEADLINE": "timed out",
    "NODE_FAIL": "node lost",
    "BOOT_FAIL": "node lost",
    "OUT_OF_MEMORY": "out of memory",
}
RUNNING = (
    "RUNNING",
    "COMPLETING",
    "CONFIGURING",
    "STAGE_OUT",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "RESIZING",
)


def slurm_states(jobs: Collection[str]) -> dict[str, JobState]:
    """How jobs of arrays (`123_4`) and others (`123`) stand; raises ClusterSilent.

    Without accounting, what became of a job that is gone is not known: it `ended`.
    """
    if not jobs:
        return {}
    queue = _lines("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r")
    states = {job: _queued(state, reason) for job, state, reason in queue if job in jobs}
    gone = [job for job in jobs if job not in states]
    return states | (_endings(gone) if gone else {})


def _queued(state: str, reason: str) -> JobState:
    if state in RUNNING:
        return JobState("running")
    return JobState("pending", "" if reason in ("None", "Priority", "Resources") else reason)


def _endings(jobs: Collection[str]) -> dict[str, JobState]:
    arrays = ",".join(sorted({job.split("_")[0] for job in jobs}))
    options = ("--allocations", "--noheader", "--parsable2", "--format=JobID,State,ExitCode")
    try:
        rows = _lines("sacct", f"--jobs={arrays}", *options)
    except ClusterSilent:  # no accounting
        rows = []
    found = {job: _ending(state, code) for job, state, code in rows if job in jobs}
    return {job: found.get(job, JobState("ended", "SLURM does not know of it any more")) for job in jobs}


def _ending(state: str, exit_code: str) -> JobState:
    word = state.split(" ")[0]
    if word in RUNNING:
        return JobState("running")  # accounting is a moment behind
    if word in ("PENDING", "REQUEUED"):
        return JobState("pending")
    return JobState(ENDINGS.get(word, "ended"), f"SLURM: {state}, exit code {exit_code}")


def _lines(*command: str) -> list[list[str]]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterSilent(f"{command[0]} does not answer: {error}") from error
    return [line.split("|") for line in done.stdout.splitlines() if line]
