"""Sweeps of Submitit's own launchers, by the folders that they leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.status import main
from support.grids.played_slurm import play


def leave(sweep: Path, job: str, cell: str = "", result: bool = False, ended: bool = False) -> None:
    """What a job leaves: its folder, and the cell's once it has begun."""
    (sweep / ".submitit" / job).mkdir(parents=True)
    if ended:
        (sweep / ".submitit" / job / f"{job}_0_result.pkl").touch()
    if cell:
        (sweep / cell / ".hydra").mkdir(parents=True)
        (sweep / cell / ".hydra" / "hydra.yaml").write_text(f"hydra: {{job: {{id: '{job}', num: 0}}}}")
    if result:
        (sweep / cell / "result.json").write_text("{}")


def test_its_jobs_are_shown_with_what_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(tmp_path / "bin", monkeypatch, squeue="7_2|RUNNING|None\n7_3|PENDING|Priority")
    sweep = tmp_path / "sweep"
    leave(sweep, "7_0", "digits_gap_none_7_0", result=True, ended=True)
    leave(sweep, "7_1", "digits_gap_pow_7_1", ended=True)
    leave(sweep, "7_2", "digits_gap_pow_7_2")
    leave(sweep, "7_3")
    (sweep / ".submitit" / "%j").mkdir()
    (sweep / ".submitit" / "7").mkdir()  # with the script of the array
    (sweep / "multirun.yaml").write_text("hydra: {runtime: {choices: {hydra/launcher: submitit_slurm}}}")
    assert main([str(sweep)]) == 1
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["done", "7_0", "digits_gap_none_7_0"] in rows and ["failed", "7_1", "digits_gap_pow_7_1"] in rows
    assert ["running", "7_2", "digits_gap_pow_7_2"] in rows and ["pending", "7_3"] in rows
    assert "4 jobs: 1 done, 1 failed, 1 running, 1 pending. Submitit's own launchers leave no plan" in printed


def test_it_cannot_be_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path, "7_0")
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--wait"])
    assert "--wait is of sweeps with a plan" in capsys.readouterr().err
