"""What squeue and sacct say, as states of jobs; the cluster's commands are played by scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.files import write_json
from sweeps.launch.cluster.jobs import slurm_states
from sweeps.launch.folder import SweepFolder
from sweeps.launch.states import cell_states, job_states
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
    book = "\n".join(f"9_{number}|{ending}|1:0|n1" for number, ending in enumerate(endings))
    play(tmp_path / "bin", monkeypatch, squeue=queue, sacct=book)
    jobs = ["7_0", "7_1", "7_2", "8", *(f"9_{number}" for number in range(len(endings)))]
    states = slurm_states(jobs)
    assert [states[job].word for job in jobs] == [
        *("running", "pending", "pending", "running"),
        *("ended", "failed", "cancelled", "timed out", "node lost", "out of memory", "cancelled"),
        *("node lost", "timed out", "pending"),
    ]
    assert states["7_1"].detail == "Dependency" and states["7_2"].detail == ""
    assert states["9_5"].detail == "SLURM: OUT_OF_MEMORY, exit code 1:0, job 9_5 on n1"
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


def test_arrays_that_never_began_stand_in_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = "16_[0-1,4%2]|CANCELLED|0:0|None assigned\n17_[3]|PENDING|0:0|None assigned"
    play(tmp_path / "bin", monkeypatch, squeue="", sacct=book)
    states = slurm_states(["16_0", "16_1", "16_4", "16_3", "17_3"])
    assert {job: state.word for job, state in states.items()} == {
        **dict.fromkeys(("16_0", "16_1", "16_4"), "cancelled"),
        "17_3": "pending",
        "16_3": "ended",
    }
    assert states["16_1"].detail == "SLURM: CANCELLED, exit code 0:0, job 16_1"


@pytest.mark.parametrize(
    ("printed", "word", "reason"),
    [
        (
            "slurmstepd-n1: error: StepId=7.0 exceeded memory limit (3 > 1), being killed\nsrun: error",
            "out of memory",
            "StepId=7.0 exceeded memory limit (3 > 1), being killed; hydra.launcher.mem_gb asks for more",
        ),
        ("sh: 1: exec: /no/python: not found\nsrun: error: Exited with exit code 127", "failed", "not found"),
    ],
)
def test_the_log_says_why_a_preparation_ended_and_so_does_each_cell_that_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, word: str, reason: str
) -> None:
    play(
        tmp_path / "bin",
        monkeypatch,
        squeue="",
        sacct="7|FAILED|9:0|n1\n8_[0-1%2]|CANCELLED|0:0|None assigned",
    )
    folder = SweepFolder(tmp_path / "sweep")
    log = folder.cluster_log_path("7")
    log.parent.mkdir(parents=True)
    log.write_text(printed)
    made = {"launcher": "slurm", "needs": "prepare-v"}
    folder.set_jobs(
        {
            "prepare-v": {"launcher": "slurm", "needs": None, "job": "7"},
            "cells-a": made | {"job": "8_0"},
            "cells-b": made | {"job": "8_1"},
        }
    )
    cells: list[dict[str, object]] = [
        {"directory": str(tmp_path / name), "key": name, "overrides": [], "extraction": name, "label": name}
        | {"budget": 100}
        for name in ("a", "b", "c")
    ]
    write_json(folder.root / "plan.json", {"cells": cells})
    first, second, third = cell_states(folder, job_states(folder))
    assert (first.word, second.word, third.word) == (word, word, "not submitted")
    for said in ("what it needs (prepare-v)", "job 7 on n1", reason, f"log: {log}"):
        assert said in first.detail and said in second.detail
