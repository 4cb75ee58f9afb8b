"""What the log of a job says of its end: SLURM itself calls a job that ran out of memory just failed."""

from __future__ import annotations

import re
from pathlib import Path

from sweeps.launch.types import JobState

OUT_OF_MEMORY = re.compile(r"exceeded (job |step )?memory limit|oom[-_]kill|out of memory", re.IGNORECASE)
OF_THE_CLUSTER = ("slurmstepd", "srun:", "submitit ")
"""Lines that say that a job ended, not why."""

TAIL = 20_000


def explained(state: JobState, log: Path) -> JobState:
    """The state of a job that did not end well, with what its log says, where it has one."""
    try:
        text = log.read_bytes()[-TAIL:].decode(errors="replace")
    except OSError:
        return state
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    memory = [line for line in lines if OUT_OF_MEMORY.search(line)]
    word = "out of memory" if memory and state.word in ("failed", "ended") else state.word
    reasons = memory[:1] or [line for line in lines if not line.startswith(OF_THE_CLUSTER)][-1:]
    advice = ["hydra.launcher.mem_gb asks for more"] if word == "out of memory" else []
    return JobState(word, "; ".join([state.detail, *reasons, *advice, f"log: {log}"]))
