"""Heads of one sweep: one at a time, and each hands over what the jobs under way do not know of."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage.files import write_json
from sweeps.grid.units import Plan, Unit, unit_of
from sweeps.launch import states
from sweeps.launch.folder import Job, SweepFolder
from sweeps.launch.head import Head, alone
from sweeps.launch.types import JobState

CELLS_PER_JOB: Any = {"prepare": 1, "extract": 1, "price": 1}


class Finishing:
    """A launcher whose jobs end at once, with the result of each of their cells."""

    name = "finishing"
    outlives_head = False
    runs_here = True
    poll_seconds = 0.0

    def __init__(self) -> None:
        self.started: list[list[str]] = []

    def start(self, jobs: Sequence[Job], folder: SweepFolder, logging: Any) -> None:
        for job in jobs:
            self.started.append([cell.key for unit in job.units for cell in unit.cells])
            for unit in job.units:
                for cell in unit.cells:
                    finish(cell)

    def step(self) -> None:
        return None

    def waiting(self) -> set[str]:
        return set()

    def stop(self) -> None:
        return None


def cell(root: Path, key: str, extraction: str) -> Any:
    """All that a head asks of a planned cell."""
    config = {"attack": {"budget": 100}}
    given = {"directory": root / key, "key": key, "overrides": (), "extraction_key": extraction}
    return SimpleNamespace(**given, label=key, config=config)


def finish(cell: Any) -> None:
    cell.directory.mkdir(parents=True, exist_ok=True)
    write_json(cell.directory / "result.json", {"keys": {"cell": cell.key}})
    (cell.directory / "curve.csv").write_text("queries\n1\n")


def plan(root: Path, *cells: Any) -> Plan:
    keys = dict.fromkeys(one.extraction_key for one in cells)
    units = {key: [one for one in cells if one.extraction_key == key] for key in keys}
    return Plan(
        root,
        list(cells),
        units=[Unit(unit_of(key), "extract", tuple(shared)) for key, shared in units.items()],
    )


def test_a_cell_that_is_new_to_a_job_under_way_is_handed_over_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head was killed, its job runs, and the next command asks for one more price of its extraction."""
    first, second = cell(tmp_path, "first", "shared"), cell(tmp_path, "second", "shared")
    folder = SweepFolder(tmp_path)
    folder.write_plan(plan(tmp_path, first))
    folder.add_jobs({unit_of("shared"): {"launcher": "slurm", "job": "7", "needs": None}})
    asked = []

    def slurm(jobs: set[str]) -> dict[str, JobState]:
        asked.append(jobs)
        if len(asked) < 3:
            return dict.fromkeys(jobs, JobState("running"))
        finish(first)
        return dict.fromkeys(jobs, JobState("ended", "COMPLETED"))

    monkeypatch.setattr(states, "slurm_states", slurm)
    launcher = Finishing()
    Head(plan(tmp_path, first, second), launcher, CELLS_PER_JOB, {}).run()
    assert launcher.started == [["first", "second"]] and len(asked) >= 3


def test_jobs_of_cells_that_were_taken_away_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, left = cell(tmp_path, "gone", "a"), cell(tmp_path, "left", "b")
    folder = SweepFolder(tmp_path)
    folder.write_plan(plan(tmp_path, gone, left))
    folder.add_jobs({unit_of("a"): {"launcher": "slurm", "job": "7", "needs": None}})
    monkeypatch.setattr(states, "slurm_states", lambda jobs: dict.fromkeys(jobs, JobState("running")))
    Head(plan(tmp_path, left), Finishing(), CELLS_PER_JOB, {}).run()


def test_a_second_head_waits_for_the_first_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = []

    def second() -> None:
        with alone(tmp_path) as has_waited:
            order.append(f"second, which {'has' if has_waited else 'has not'} waited")

    with alone(tmp_path) as has_waited:
        assert not has_waited
        other = threading.Thread(target=second)
        other.start()
        deadline = time.monotonic() + 20
        while "another command runs this sweep" not in capsys.readouterr().out:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        order.append("first")
    other.join(20)
    assert order == ["first", "second, which has waited"]
