"""A grid may hold cells without a defense beside cells whose defense has options of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.conf import CONF
from sweeps.grid.absent import without_absent_defenses
from sweeps.grid.compose import GridComposer, hydra_loader, master_config
from sweeps.grid.plan import Planner
from sweeps.grid.units import Plan


def planned(jobs: list[list[str]], folder: Path, *overrides: str) -> Plan:
    with hydra_loader(CONF) as loader:
        composer = GridComposer(loader, master_config(loader, [f"paths.store={folder}/store", *overrides]))
        return Planner(composer, folder / "sweep").plan(jobs)


@pytest.mark.parametrize("plus", ["", "++"])
def test_options_of_a_defense_leave_cells_without_it_alone(plus: str, tmp_path: Path) -> None:
    jobs = [
        [f"defense={defense}", f"{plus}defense.pow.scope={scope}"]
        for defense in ("none", "pow")
        for scope in ("account", "global")
    ]
    plan = planned(jobs, tmp_path)
    assert [list(cell.config["defense"]) for cell in plan.cells] == [[], ["pow"], ["pow"]]
    assert [cell.config["defense"]["pow"]["scope"] for cell in plan.cells[1:]] == ["account", "global"]
    assert plan.repeated == 1


def test_stacks_are_read_too() -> None:
    jobs = [
        ["defense=[rounding,pow]", "defense.rounding.decimals=1"],
        ["defense=pow", "defense.rounding.decimals=1"],
    ]
    assert without_absent_defenses(jobs) == [jobs[0], ["defense=pow"]]


def test_options_of_a_defense_that_no_cell_has_are_kept_to_be_refused() -> None:
    jobs = [["defense=none", "defense.pow.scope=global"], ["defense=rounding", "defense.pow.scope=global"]]
    assert without_absent_defenses(jobs) == jobs
    unnamed = [["attack=knockoff", "defense.pow.scope=global"]]
    assert without_absent_defenses(unnamed) == unnamed


def test_folders_of_cells_follow_the_settings_of_override_dirname(tmp_path: Path) -> None:
    settings = "hydra.job.config.override_dirname"
    plan = planned(
        [["seed=3", "attack=random"]],
        tmp_path,
        "hydra.sweep.subdir=${hydra.job.override_dirname}",
        f"{settings}.kv_sep=-",
        f"{settings}.item_sep=_",
        f"{settings}.exclude_keys=[attack]",
    )
    assert plan.cells[0].directory.name == "seed-3"
    plan = planned(
        [["seed=3", "attack=random"]], tmp_path, "hydra.sweep.subdir=${hydra.job.override_dirname}"
    )
    assert plan.cells[0].directory.name == "attack=random,seed=3"
