"""What squeue and sacct say, as states of jobs; the cluster's commands are played by scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.launch.slurm_jobs import slurm_states
from sweeps.launch.types import ClusterSilent, JobState


def play(folder: Path, monkeypatch: pytest.MonkeyPatch, **output: str | None) -> None:
    """Commands that print this, or fail."""
    folder.mkdir(exist_ok=True)
    for name, text in output.items():
        script = folder / name
        script.write_text("#!/bin/sh\nexit 1\n" if text is None else f"#!/bin/sh\ncat <<END\n{text}\nEND\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_running_pending_and_all_endings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = (
        "7_0|RUNNING|None\n7_1|PENDING|Dependency\n7_2|PENDING|Resources\n8|COMPLETING|None\n99|RUNNING|None"
    )
    endings = [
        *("COMPLETED", "FAILED", "CANCELLED by 1000", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
        *("BOOT_FAIL", "DEADLINE", "REQUEUED"),
    ]
    book = "\n".join(f"9_{number}|{ending}|1:0" for number, ending in enumerate(endings))
    play(tmp_path / "bin", monkeypatch, squeue=queue, sacct=book)
    jobs = ["7_0", "7_1", "7_2", "8", *(f"9_{number}" for number in range(len(endings)))]
    states = slurm_states(jobs)
    assert [states[job].word for job in jobs] == [
        *("running", "pending", "pending", "running"),
        *("ended", "failed", "cancelled", "timed out", "node lost", "out of memory", "cancelled"),
        *("node lost", "timed out", "pending"),
    ]
    assert states["7_1"].detail == "Dependency" and states["7_2"].detail == ""
    assert states["9_5"].detail == "SLURM: OUT_OF_MEMORY, exit code 1:0"
    assert set(states) == set(jobs), "other jobs of the user are nobody's business"


def test_without_accounting_a_job_that_is_gone_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path / "bin", monkeypatch, squeue="", sacct=None)
    assert slurm_states(["5_1"])["5_1"].word == "ended"


def test_a_silent_cluster_is_not_an_ended_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(tmp_path / "bin", monkeypatch, squeue=None, sacct="")
    with pytest.raises(ClusterSilent, match="squeue does not answer"):
        slurm_states(["5_1"])


def test_nothing_is_asked_about_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(tmp_path / "bin", monkeypatch, squeue=None, sacct=None)
    assert slurm_states([]) == {}
    assert JobState("pending").under_way and not JobState("timed out").under_way
