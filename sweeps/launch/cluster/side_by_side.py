"""Units of one job that run side by side, so that several cells share the GPU that the job got."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from submitit.core.job_environment import JobEnvironment

IGNORING = f'trap "" {JobEnvironment.USR_SIG} TERM; exec "$0" "$@"'
"""A shell's command that ignores the signals before a time limit or a preemption, and starts a program."""

POLL_SECONDS = 0.2


def run_side_by_side(path: Path, units: Sequence[str], at_a_time: int) -> list[str]:
    """Run units of a job's file in processes of their own, so many at a time; returns what failed.

    Signals before a time limit or a preemption are this process' affair. Where it leaves, by such a signal
    or an error, the processes are ended: their cells go on from their last answers.
    """
    threads = max(1, int(os.environ.get("OMP_NUM_THREADS", "1")) // at_a_time)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    waiting, failed = list(units), []
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                unit = waiting.pop(0)
                command = ["sh", "-c", IGNORING, sys.executable, "-m", "sweeps.launch.job", str(path), unit]
                running[unit] = subprocess.Popen(command, env=environment)
            ended = {unit: code for unit, one in running.items() if (code := one.poll()) is not None}
            failed += [f"{unit}: exit code {code}" for unit, code in ended.items() if code]
            running = {unit: one for unit, one in running.items() if unit not in ended}
            _rest()
    finally:
        for one in running.values():
            one.kill()
            one.wait()
    return failed


def _rest() -> None:
    time.sleep(POLL_SECONDS)
