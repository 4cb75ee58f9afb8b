"""A grid without a launcher: planned, refused up front, run in this process, resumed, reported."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.grids.running import asked, command, environment, gated, run, started

WITH_A_FAILURE = gated("Raising", "Plain")
STRENGTHS = "pow_calibration.strength=1,4"


@pytest.fixture(scope="module")
def swept(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, int], subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """Two attacks, of which the first fails, at two strengths; and the same command again."""
    base = tmp_path_factory.mktemp("in_process")
    arguments, variables = command(base, WITH_A_FAILURE, STRENGTHS), environment(base, {})
    first = run(arguments, variables)
    results = base.glob("sweep/cell*/result.json")
    written = {path.parent.name: path.stat().st_mtime_ns for path in results}
    return base, written, first, run(arguments, variables)


Swept = tuple[Path, dict[str, int], subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]


@pytest.mark.slow  # a sweep of its own
def test_it_is_planned_and_reported(swept: Swept) -> None:
    base, written, first, _ = swept
    assert set(written) == {"cell2", "cell3"}
    said = first.stdout
    assert "4 cells, 0 of them done" in said
    assert said.index("planned in") < said.index("4 cells: 0 done, 0 running, 4 left")
    log = (base / "sweep" / "cell2" / "log").read_text()
    assert "queries asked of the victim" in log
    assert "round 1: 100 of 300 queries" in log, "the progress of each cell"
    assert "queries asked of the victim" not in said, "which is not the terminal's"
    assert said.index("What each stolen model cost") < said.index(f"all figures: {base}/sweep/table.csv")
    assert f"plot: {base}/sweep/accuracy_digits.png" in said


@pytest.mark.slow  # a sweep of its own
def test_a_failure_keeps_no_other_cell_from_running_and_is_said_at_the_end(swept: Swept) -> None:
    _, _, first, _ = swept
    assert first.returncode == 1
    assert "4 cells: 2 failed, 2 done" in first.stderr
    assert first.stderr.count("this attack was made to fail") == 2
    assert first.stderr.count("/sweep/cell0/log") == 1, "each names its log"
    assert "Traceback" not in first.stderr


@pytest.mark.slow  # a sweep of its own
def test_a_finished_cell_is_not_priced_again(swept: Swept) -> None:
    base, written, _, again = swept
    assert "4 cells, 2 of them done" in again.stdout
    assert {name: (base / "sweep" / name / "result.json").stat().st_mtime_ns for name in written} == written
    assert asked(base / "sweep" / "cell2") == 300
    assert again.returncode == 1, "the others still fail"


def test_one_bad_cell_is_said_before_a_good_one_runs(tmp_path: Path) -> None:
    arguments = command(tmp_path, "attack=standard,dfme", "attack.answers=hard")
    process = run(arguments, environment(tmp_path, {}))
    assert process.returncode == 1
    assert "attack.answers=hard is not enough" in process.stderr
    assert "asked of the victim" not in process.stdout
    assert not list(tmp_path.rglob("curve.csv"))


@pytest.mark.parametrize(
    "foreign", [["hydra/launcher=basic"], ["hydra/launcher=basic", "hydra/sweeper=basic"]], ids=len
)
def test_a_launcher_that_plans_nothing_is_refused(tmp_path: Path, foreign: list[str]) -> None:
    process = run(command(tmp_path, "seed=0,1", *foreign), environment(tmp_path, {}))
    assert process.returncode == 1
    assert "choose hydra/launcher=in_process, local or slurm" in process.stderr
    assert not list(tmp_path.rglob("result.json")) and not (tmp_path / "store").exists()


@pytest.mark.slow  # a sweep of its own
def test_interrupted_it_says_how_it_goes_on(tmp_path: Path) -> None:
    gate = tmp_path / "gates" / "Requeued.reached"
    arguments = command(tmp_path, gated("Requeued"))
    with started(arguments, environment(tmp_path, {})) as head:
        while not gate.exists():
            assert head.poll() is None, head.stderr
            time.sleep(0.05)
        os.kill(head.pid, signal.SIGINT)
        assert head.wait(60) == 1
        assert head.stderr == "error: interrupted; the same command goes on where this one stopped\n"
