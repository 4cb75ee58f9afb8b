"""A sweep's folder grows, shrinks and moves: what is done stays where it is, and is done once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from storage.files import link_or_copy
from support.commands import ROOT
from support.grids.reports import write_cell
from support.grids.running import SMALL
from sweeps.grid.compose import GridComposer, hydra_loader, master_config
from sweeps.grid.listed import listed_before, read_listing
from sweeps.grid.plan import Planner
from sweeps.grid.units import Plan
from sweeps.launch.folder import SweepFolder
from sweeps.launch.sweep import plan_lines
from sweeps.report.write import load

Sweep = Callable[[Sequence[str]], Plan]


@pytest.fixture(scope="module")
def composer() -> Iterator[GridComposer]:
    with hydra_loader(ROOT / "conf") as loader:
        yield GridComposer(loader, master_config(loader, SMALL))


@pytest.fixture
def sweep(composer: GridComposer, tmp_path: Path) -> Sweep:
    """Plans a grid in the folder `sweep`, puts it on record, and finishes its cells by hand."""

    def of(jobs: Sequence[str]) -> Plan:
        store = f"paths.store={tmp_path}/store"
        plan = Planner(composer, tmp_path / "sweep").plan([[*job.split(), store] for job in jobs])
        SweepFolder(tmp_path / "sweep").write_plan(plan)
        for cell in plan.cells:
            if not cell.is_done:
                name, seed = cell.config["attack"]["name"], int(cell.config["seed"])
                write_cell(cell.directory, name, seed, [0.5], key=cell.key)
        return plan

    return of


SEEDS = ("attack=gap seed=0", "attack=gap seed=1")


def directories(plan: Plan) -> dict[str, Path]:
    return {cell.key: cell.directory for cell in plan.cells}


def test_folders_are_named_by_their_cells(sweep: Sweep) -> None:
    plan = sweep(["attack=gap seed=1 pow_calibration.strength=4", "attack=gap seed=1 defense=none"])
    charged, free = plan.cells
    assert charged.directory.name == f"digits_gap_pow_x4_s1_{charged.key[:8]}"
    assert free.directory.name == f"digits_gap_none_s1_{free.key[:8]}"


def test_a_grid_that_grows_runs_only_what_is_new(sweep: Sweep) -> None:
    """Whatever the order of the options and of their values."""
    before = sweep(SEEDS)
    grown = sweep(["seed=2 attack=gap", "seed=1 attack=gap", "attack=standard seed=0", *SEEDS])
    assert directories(before).items() < directories(grown).items()
    assert grown.repeated == 1
    assert [cell.label for unit in grown.units if unit.stage != "prepare" for cell in unit.cells] == [
        *("gap on digits, pow x1, seed 2", "standard on digits, pow x1, seed 0"),
    ]


def test_a_cell_stays_where_it_was_under_another_rule_for_names(sweep: Sweep) -> None:
    """Folders of early sweeps were numbered."""
    numbered = [f"{seed} hydra.sweep.subdir=${{hydra.job.num}}_cell" for seed in SEEDS]
    first = sweep(numbered)
    assert [cell.directory.name for cell in first.cells] == ["0_cell", "1_cell"]
    again = sweep(list(reversed(SEEDS)))
    assert directories(again) == directories(first) and not again.units


def test_what_the_grid_has_no_more_is_said_and_left_out(
    sweep: Sweep, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep([*SEEDS, "attack=standard seed=0"])
    plan = sweep(SEEDS)
    said = (
        "1 finished cell of an earlier command is not in this grid, and left out of its report: "
        "standard on digits, pow x1, seed 0"
    )
    assert said in plan_lines(plan, _Nothing())  # type: ignore[arg-type] # which estimates nothing
    with caplog.at_level(logging.WARNING):
        assert set(load([tmp_path]).cells["attack"]) == {"gap"}
    assert said in caplog.text
    again = sweep([*SEEDS, "attack=standard seed=0"])
    assert not again.units and not again.left_out
    assert set(load([tmp_path]).cells["attack"]) == {"gap", "standard"}


class _Nothing:
    def sentence(self, plan: Plan, processes: int) -> str:
        return ""


@pytest.mark.parametrize("change", [shutil.move, shutil.copytree])
def test_a_sweep_that_is_moved_or_copied_is_done(
    change: Callable[[Path, Path], object], sweep: Sweep, tmp_path: Path
) -> None:
    sweep(SEEDS)
    change(tmp_path / "sweep", tmp_path / "elsewhere")
    assert [cell.is_done for cell in read_listing(tmp_path / "elsewhere").cells] == [True, True]


def test_jobs_are_those_of_the_folder_itself(tmp_path: Path) -> None:
    """Of a folder that was renamed they go on; a copy has none."""
    folder = SweepFolder(tmp_path / "sweep")
    folder.root.mkdir(parents=True)
    folder.set_jobs({"unit": {"launcher": "slurm", "job": "7"}})
    (tmp_path / "sweep").rename(tmp_path / "renamed")
    shutil.copytree(tmp_path / "renamed", tmp_path / "copy")
    assert SweepFolder(tmp_path / "renamed").jobs() == {"unit": {"launcher": "slurm", "job": "7"}}
    copy = SweepFolder(tmp_path / "copy")
    assert copy.jobs() == {}
    copy.add_jobs({"other": {"launcher": "slurm", "job": "8"}})
    assert set(SweepFolder(tmp_path / "copy").jobs()) == {"other"}


def test_a_damaged_list_is_written_anew(sweep: Sweep, tmp_path: Path) -> None:
    first = sweep(SEEDS)
    (tmp_path / "sweep" / ".tollgate" / "plan.json").write_text("{ half")
    assert listed_before(tmp_path / "sweep") == []
    assert directories(sweep(SEEDS)) == directories(first)


def test_a_trace_stays_when_its_sweep_or_the_store_moves(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "store" / "trace").write_text("rows")
    link_or_copy(tmp_path / "store" / "trace", tmp_path / "sweep" / "trace")
    (tmp_path / "sweep").rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "store")
    assert (tmp_path / "moved" / "trace").read_text() == "rows"
