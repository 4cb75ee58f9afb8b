"""Sweeps over processes of this machine and in one process."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from support.grids.running import asked, command, curve, entries, environment, gated, run, started
from sweeps.launch.folder import SweepFolder
from sweeps.launch.local import LocalLauncher, local_states
from sweeps.launch.types import JobState

pytestmark = pytest.mark.slow  # whole sweeps over new processes: a minute of a core

STRENGTHS = "pow_calibration.strength=1,4"
WITH_A_FAILURE = gated("Plain", "Raising")


@pytest.fixture(scope="module")
def swept(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """Two attacks, of which one fails, at two strengths; and the same command again."""
    base = tmp_path_factory.mktemp("local")
    arguments = command(base, WITH_A_FAILURE, STRENGTHS, "hydra/launcher=local")
    variables = environment(base, {})
    return base, run(arguments, variables), run(arguments, variables)


Swept = tuple[Path, subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]


def test_cells_that_share_an_extraction_run_it_once(swept: Swept) -> None:
    base, first, _ = swept
    assert first.returncode == 1
    assert "4 cells: 2 done, 2 failed" in first.stderr
    assert (entries(base, "victims"), entries(base, "extractions")) == (1, 1)
    cheap, expensive = (curve(base / "sweep" / f"cell{number}") for number in (0, 1))
    assert cheap["accuracy"].tolist() == expensive["accuracy"].tolist()
    assert expensive["pow_seconds"].to_numpy() == pytest.approx(4 * cheap["pow_seconds"].to_numpy())
    assert asked(base / "sweep" / "cell0") == 300
    assert "asked" not in (base / "sweep" / "cell1" / "log").read_text()


def test_a_cell_leaves_what_hydra_would_leave(swept: Swept) -> None:
    cell = swept[0] / "sweep" / "cell0"
    left = {path.name for path in cell.iterdir()}
    files = {"config.yaml", "curve.csv", "test_images.csv", "trace.parquet", "result.json", "log"}
    assert left == {*files, ".hydra"}
    assert "pow_calibration.strength=1" in (cell / ".hydra" / "overrides.yaml").read_text()
    result = json.loads((cell / "result.json").read_text())
    assert result["keys"]["cell"] and result["git_commit"]


def test_the_same_command_runs_only_what_is_missing(swept: Swept) -> None:
    base, _, second = swept
    assert second.returncode == 1
    assert "2 of them done" in second.stdout and "(0 to prepare), 2 extractions (1 to run" in second.stdout
    assert asked(base / "sweep" / "cell0") == 300
    failure = json.loads((base / "sweep" / "cell2" / "failure.json").read_text())
    assert failure["error"] == "RuntimeError: this attack was made to fail"
    assert "gated_attacks.py" in failure["traceback"]


def test_a_finished_sweep_runs_nothing(tmp_path: Path) -> None:
    """In one process; then over processes, which find all done."""
    overrides = ["attack=standard", STRENGTHS]
    first = run(command(tmp_path, *overrides, "hydra/launcher=in_process"), environment(tmp_path, {}))
    assert first.returncode == 0, first.stderr
    written = (tmp_path / "sweep" / "cell1" / "result.json").stat().st_mtime_ns
    again = run(command(tmp_path, *overrides, "hydra/launcher=local"), environment(tmp_path, {}))
    assert again.returncode == 0, again.stderr
    assert "2 cells, 2 of them done" in again.stdout
    assert "What each stolen model cost" in again.stdout
    assert (tmp_path / "sweep" / "cell1" / "result.json").stat().st_mtime_ns == written
    assert not list((tmp_path / "sweep" / ".tollgate" / "logs").glob("cells-*")), "no process was begun"


def test_a_killed_head_loses_nothing(tmp_path: Path) -> None:
    """Its running job goes on, and the next head waits for it instead of starting it twice."""
    gate = tmp_path / "gates" / "Requeued"
    overrides = [
        gated("Requeued", "Plain"),
        "hydra/launcher=local",
    ]
    arguments, variables = (
        command(tmp_path, *overrides, "hydra.launcher.processes=1"),
        environment(tmp_path, {}),
    )
    with started(arguments, variables) as head:  # which is killed when left
        while not gate.with_suffix(".reached").exists():
            assert head.poll() is None
            time.sleep(0.1)
    folder = SweepFolder(tmp_path / "sweep")
    (running,) = [unit for unit, state in local_states(folder.jobs()).items() if state.under_way]
    with started(arguments, variables) as next_head:
        while len(folder.jobs()) < 3:
            assert next_head.poll() is None
            time.sleep(0.1)
        assert local_states(folder.jobs())[running].under_way
        gate.touch()
        assert next_head.wait(300) == 0
    assert [asked(tmp_path / "sweep" / f"cell{number}") for number in (0, 1)] == [300, 300]
    pd.testing.assert_frame_equal(
        curve(tmp_path / "sweep" / "cell0"), curve(tmp_path / "sweep" / "cell1"), check_exact=True
    )


def test_a_job_begins_only_while_memory_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = LocalLauncher(processes=4, memory_gb=2)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 2**30}))
    assert launcher._has_room(), "one runs whatever is free"
    launcher.running["a job"] = None  # type: ignore[assignment]
    assert not launcher._has_room()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 3 * 2**30}))
    assert launcher._has_room()
    launcher.running |= dict.fromkeys("bcd")  # type: ignore[arg-type]
    assert not launcher._has_room()


def test_a_process_that_took_over_a_number_is_not_the_job() -> None:
    """Numbers of processes are given again: the time of birth tells."""
    born = psutil.Process(os.getpid()).create_time()
    record = {"host": os.uname().nodename, "pid": os.getpid(), "born": born, "code": None}
    old = record | {"born": born - 100}
    assert local_states({"ours": record, "old": old}) == {
        "ours": JobState("running"),
        "old": JobState("ended", "its process is gone"),
    }


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, JobState("ended", "exit code 0")),
        (1, JobState("failed", "exit code 1")),
        (-9, JobState("cancelled", "its process was ended by signal 9")),
        (143, JobState("cancelled", "its process was ended by signal 15")),
    ],
)
def test_an_exit_code_tells_how_a_job_ended(code: int, state: JobState) -> None:
    assert local_states({"job": {"code": code}}) == {"job": state}
