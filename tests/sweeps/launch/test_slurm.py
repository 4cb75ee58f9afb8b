"""Sweeps on a real SLURM: planned, disturbed, resumed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from support.commands import ROOT, run_program
from support.grids.on_cluster import SLURM, job_of, jobs, until
from support.grids.running import GATED, asked, command, curve, entries, environment, run, started
from support.grids.slurm_cluster import Cluster
from support.images import write_images
from support.readme import PLANNED
from support.readme import SMALL as README_SMALL


def near_its_limit(cluster: Cluster, job: str) -> None:
    """Give a job that runs the lowest time limit that lets it run for half a minute more."""
    shown = cluster.run("scontrol", "show", "job", job).stdout
    ran = re.search(r"RunTime=(\d+):(\d+):(\d+)", shown)
    assert ran, shown
    hours, minutes, seconds = map(int, ran.groups())
    elapsed = 60 * (60 * hours + minutes) + seconds
    cluster.run("scontrol", "update", f"JobId={job}", f"TimeLimit={(elapsed + 30) // 60 + 1}")


def states(base: Path, cluster: Cluster, *flags: str) -> tuple[int, str]:
    arguments = [sys.executable, "-m", "commands", "status", str(base / "sweep"), "--all", *flags]
    done = run(arguments, os.environ | cluster.environment)
    return done.returncode, done.stdout + done.stderr


def word(status: str, number: int) -> str:
    """The state that `tollgate status --all` gives a cell."""
    (line,) = [line for line in status.splitlines() if f" cell{number} " in f"{line} "]
    return line.split("  ")[0].strip()


@pytest.fixture(scope="module")
def disturbed(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """One sweep in which a cell raises, one is cancelled, one requeued, one late, and the head killed.

    Gives its folder, what `status` said after all that, and the same command given twice more.
    """
    base = tmp_path_factory.mktemp("disturbed")
    gates, variables = base / "gates", environment(base, cluster.environment)
    arguments = command(base, GATED, *SLURM)
    with started(arguments, variables):  # and, left, killed
        until(lambda: len(jobs(base)) == 6, "the submission of five cells and their victim")
    for name in ("Cancelled", "Requeued", "Late"):
        until((gates / f"{name}.reached").exists, f"the second round of {name}")
    cluster.run("scancel", job_of(base, 1))
    (gates / "Requeued.reached").unlink()
    cluster.run("scontrol", "requeue", job_of(base, 2))
    (gates / "Late.reached").unlink()
    late = job_of(base, 3)
    near_its_limit(cluster, late)
    until(lambda: "Restarts=1" in cluster.run("scontrol", "show", "job", late).stdout, "the time limit")
    cluster.run("scontrol", "update", f"JobId={late}", "TimeLimit=10")
    until((gates / "Requeued.reached").exists, "the second start of the requeued cell")
    until((gates / "Late.reached").exists, "the second start of the cell that reached its limit")
    for name in ("Requeued", "Late"):
        (gates / name).touch()
    code, status = states(base, cluster, "--wait")
    assert code == 1
    (gates / "Cancelled").touch()
    return base, status, run(arguments, variables), run(arguments, variables)


Disturbed = tuple[Path, str, subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]


def test_status_tells_the_endings_apart(disturbed: Disturbed) -> None:
    _, status, _, _ = disturbed
    assert [word(status, number) for number in range(5)] == ["failed", "cancelled", "done", "done", "done"]
    assert "RuntimeError: this attack was made to fail" in status
    assert "SLURM: CANCELLED" in status
    assert "5 cells: 1 failed, 1 cancelled, 3 done" in status


def test_the_same_command_ends_with_all_but_the_raising_cell(disturbed: Disturbed) -> None:
    base, _, second, third = disturbed
    for process in (second, third):
        assert process.returncode == 1
        assert "5 cells: 1 failed, 4 done" in process.stderr
        assert "RuntimeError: this attack was made to fail" in process.stderr
        assert "What each stolen model cost" in process.stdout, "the other results stand"
    assert "3 of them done" in second.stdout and "4 of them done" in third.stdout
    assert not (base / "sweep" / "cell0" / "result.json").exists()


def test_no_query_is_asked_twice_and_the_curves_are_undisturbed(disturbed: Disturbed) -> None:
    """All cells ask what the one that nothing happens to asks."""
    base = disturbed[0]
    undisturbed = curve(base / "sweep" / "cell4")
    assert undisturbed["queries"].tolist() == [100, 200, 300]
    for number in range(1, 5):
        pd.testing.assert_frame_equal(curve(base / "sweep" / f"cell{number}"), undisturbed, check_exact=True)
        assert asked(base / "sweep" / f"cell{number}") == 300
    assert asked(base / "sweep" / "cell0") == 100
    assert (entries(base, "victims"), entries(base, "teachers"), entries(base, "extractions")) == (1, 1, 4)


def test_slurm_calls_the_failed_cell_failed(disturbed: Disturbed, cluster: Cluster) -> None:
    base = disturbed[0]
    found = cluster.run("sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", job_of(base, 0))
    assert found.stdout.strip() == f"{job_of(base, 0)}|FAILED"


def test_jobs_run_the_code_of_their_submission(disturbed: Disturbed) -> None:
    base = disturbed[0]
    copies = list((base / "sweep" / ".tollgate").glob("code-*"))
    assert len(copies) == 1, "the code did not change between the heads"
    assert (copies[0] / "extraction" / "attacks" / "knockoff.py").read_text() == (
        ROOT / "extraction" / "attacks" / "knockoff.py"
    ).read_text()
    scripts = list((base / "sweep" / ".tollgate" / "slurm").rglob("*submission.sh"))
    assert scripts and all(str(copies[0]) in script.read_text() for script in scripts)


def test_the_commands_of_the_readme(cluster: Cluster, tmp_path: Path) -> None:
    """The grid on the cluster and its status, with all made small."""
    for name, shape in {"mnist": (28, 28), "tinyimagenet32": (32, 32, 3)}.items():
        write_images(tmp_path / "data" / name, shape, train=260, test=50)
    _, on_slurm, status = PLANNED
    assert "hydra/launcher=slurm" in on_slurm.arguments
    cut = ["attack=standard", "seed=0", "pow_calibration.strength=1,4", *SLURM, *README_SMALL]
    for arguments in (on_slurm.with_overrides(cut), status.arguments):
        done = run_program(
            "-m", "commands", *arguments, folder=tmp_path, **cluster.environment, PYTHONPATH=str(ROOT)
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3 cells: 3 done"


def test_cells_of_a_victim_that_fails_are_not_run(cluster: Cluster, tmp_path: Path) -> None:
    """The victim's training diverges: its cells never start, and the head says why and ends."""
    variables = environment(tmp_path, cluster.environment)
    fast = "victim.recipe.learning_rate=1e6"
    head = run(command(tmp_path, fast, "seed=0,1", "victim.seed=0", *SLURM), variables)
    assert head.returncode == 1
    assert "2 cells: 2 failed" in head.stderr
    assert "what it needs failed" in head.stderr and "victim: training diverged" in head.stderr
    assert not list((tmp_path / "sweep").glob("cell?/log"))
