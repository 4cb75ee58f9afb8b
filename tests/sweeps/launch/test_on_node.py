"""What a job says of the node that it runs on; the cluster's commands are played by scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from support.grids.played_slurm import play
from sweeps.launch.cluster.on_node import missed_gpu, name_job

AUTO = {"trainer": {"accelerator": "auto"}}


@pytest.fixture(autouse=True)
def in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an array, on a node with a GPU that torch does not see."""
    play(tmp_path / "bin", monkeypatch, sinfo="gpu:2")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    for name in ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_gpu_of_the_node_that_nobody_asked_for_is_said() -> None:
    said = missed_gpu(AUTO)
    assert said and "node n1 has a GPU that this job did not ask for" in said
    assert "hydra.launcher.gpus_per_node=1" in said


def test_a_gpu_that_was_promised_and_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "1")
    said = missed_gpu(AUTO)
    assert said and "SLURM gave this job a GPU" in said and "trainer=gpu makes that an error" in said


def test_else_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert missed_gpu({"trainer": {"accelerator": "cpu"}}) is None
    play(tmp_path / "bin", monkeypatch, sinfo="(null)")
    assert missed_gpu(AUTO) is None
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID")
    play(tmp_path / "bin", monkeypatch, sinfo="gpu:2")
    assert missed_gpu(AUTO) is None, "outside of SLURM"


def test_a_job_takes_the_name_of_its_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_job("knockoff on digits, pow x4, seed 1")
    asked = (tmp_path / "bin" / "asked").read_text()
    assert "scontrol update JobId=12_3 JobName=tollgate knockoff on digits, pow x4, seed 1 Comment=" in asked
    play(tmp_path / "bin", monkeypatch, scontrol=None)
    name_job("a cluster that forbids it costs nothing")
