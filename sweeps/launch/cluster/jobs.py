"""Asking SLURM how jobs stand: squeue for those that it has, sacct for what became of the others."""

from __future__ import annotations

import contextlib
import re
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
    queue = slurm_lines("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r")
    states = {job: _queued(state, reason) for job, state, reason in queue if job in jobs}
    gone = [job for job in jobs if job not in states]
    return states | (_endings(gone) if gone else {})


def _queued(state: str, reason: str) -> JobState:
    if state in RUNNING:
        return JobState("running")
    return JobState("pending", "" if reason in ("None", "Priority", "Resources") else reason)


def _endings(jobs: Collection[str]) -> dict[str, JobState]:
    arrays = ",".join(sorted({job.split("_")[0] for job in jobs}))
    options = ("--allocations", "--noheader", "--parsable2", "--format=JobID,State,ExitCode,NodeList")
    try:
        rows = slurm_lines("sacct", f"--jobs={arrays}", *options)
    except ClusterSilent:  # no accounting
        rows = []
    found = {job: _ending(job, *row) for ids, *row in rows for job in _each(ids) if job in jobs}
    unknown = "SLURM does not know of job {} any more"
    return {job: found.get(job, JobState("ended", unknown.format(job))) for job in jobs}


def _each(ids: str) -> list[str]:
    """The jobs of a row of sacct: `7`, `7_1`, or those of an array that never began, `7_[0-2,5%4]`."""
    array = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", ids)
    if array is None:
        return [ids]
    spans = [part.partition("-") for part in array[2].split(",")]
    return [
        f"{array[1]}_{number}"
        for first, _, last in spans
        for number in range(int(first), int(last or first) + 1)
    ]


def _ending(job: str, state: str, exit_code: str, node: str) -> JobState:
    word = state.split(" ")[0]
    if word in RUNNING:
        return JobState("running")  # accounting is a moment behind
    if word in ("PENDING", "REQUEUED"):
        return JobState("pending")
    where = f"job {job}" + (f" on {node}" if node not in ("", "None assigned") else "")
    return JobState(ENDINGS.get(word, "ended"), f"SLURM: {state}, exit code {exit_code}, {where}")


HELD = "launch failed requeued held"
"""Why a job waits that SLURM could not start again on a node that had been lost."""


def release(jobs: Collection[str]) -> None:
    """Let jobs go that SLURM holds; what it does not let go stays pending with its reason."""
    for job in sorted(jobs):
        with contextlib.suppress(ClusterSilent):
            slurm_lines("scontrol", "release", job)


def cancel(jobs: Collection[str]) -> None:
    """Cancel the arrays of these jobs, and others, as a whole."""
    if arrays := sorted({job.split("_")[0] for job in jobs}):
        slurm_lines("scancel", *arrays)


def slurm_lines(*command: str) -> list[list[str]]:
    """The fields of each line that a command of SLURM prints; raises ClusterSilent where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterSilent(f"{command[0]} does not answer: {error}") from error
    return [line.split("|") for line in done.stdout.splitlines() if line]
