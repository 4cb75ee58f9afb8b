"""Frames of a sweep, what tells its cells apart, and means over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class

from support.commands import ROOT
from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.frames import tidy
from sweeps.report.own_hardware import on_own_hardware
from sweeps.report.results import load_cells
from sweeps.report.setups import finals, lines, setups, strengths
from sweeps.report.varying_options import varying_options


def test_means_and_students_intervals(sweep: Path) -> None:
    table = report.table(report.load([sweep])).set_index("attack")
    standard = table.loc["standard"]
    assert standard["seeds"] == 3
    assert standard["accuracy"] == pytest.approx(0.93)
    # t(0.975, 2 degrees of freedom) = 4.3027 (any table); the deviation of the three is 0.036056
    assert standard["accuracy_interval"] == pytest.approx(4.30265 * 0.0360555 / np.sqrt(3), rel=1e-5)
    assert standard["cost_pate_interval"] == 0
    assert table.loc["knockoff", "seeds"] == 1
    assert table["accuracy_interval"].isna()["knockoff"]


def test_an_interval_counts_the_seeds_that_have_a_figure(sweep: Path) -> None:
    """Two of three seeds have a pkNN cost: t(0.975, 1) = 12.7062."""
    for seed in (0, 1):
        path = sweep / f"{seed}_standard" / "curve.csv"
        head, *rows = path.read_text().splitlines()
        path.write_text("\n".join([head + ",cost_pknn", *(f"{row},{10 + 2 * seed}" for row in rows)]) + "\n")
    standard = report.table(report.load([sweep])).set_index("attack").loc["standard"]
    assert (standard["seeds"], standard["cost_pknn"]) == (3, 11)
    assert standard["cost_pknn_interval"] == pytest.approx(12.7062 * np.sqrt(2) / np.sqrt(2), rel=1e-5)


def test_points_along_the_curve(sweep: Path) -> None:
    table = report.table(report.load([sweep]), at=[50, 100, 150, 200, 201])
    standard = table[table["attack"] == "standard"]
    assert list(standard["queries"]) == [100, 200]
    assert list(standard["accuracy"]) == pytest.approx([0.6, 0.93])
    assert list(standard["cost_pate"]) == [30, 60]


def test_a_mean_curve_is_over_the_seeds_that_came_so_far(tmp_path: Path) -> None:
    write_cell(tmp_path / "0", "copycat", 0, [0.4], gave_up=True)
    write_cell(tmp_path / "1", "copycat", 1, [0.6, 0.8])
    curve = lines(report.load([tmp_path]))
    assert list(curve["accuracy"]) == pytest.approx([0.5, 0.8])
    assert list(curve["seeds"]) == [2, 1]


def test_a_cell_in_two_folders_counts_once(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_cell(tmp_path / folder, "standard", 0, [0.5, 0.9], key="same")
    assert len(report.load([tmp_path]).cells) == 1


def test_cells_without_a_toll_that_differ_in_its_price_count_once(tmp_path: Path) -> None:
    for number, strength in enumerate((0.5, 2.0)):
        config = {"pow_calibration": {"strength": strength}, "attack": {"budget": 100}}
        keys = {"cell": str(number), "extraction": "same"}
        free: dict[str, Any] = {"defense": "none", "calibration": None, "strength": None, "keys": keys}
        write_cell(tmp_path / str(number), "standard", 0, [0.5], config=config, **free)
    assert len(report.load([tmp_path]).cells) == 1


def sweep_of(tmp_path: Path, *cells: tuple[int, dict[str, Any]]) -> report.Sweep:
    for number, (seed, config) in enumerate(cells):
        write_cell(tmp_path / str(number), "standard", seed, [0.5], config=config)
    return report.load([tmp_path])


def test_an_option_that_differs_is_a_column(tmp_path: Path) -> None:
    sweep = sweep_of(
        tmp_path,
        *((seed, {"seed": seed, "attack": {"round_size": size}}) for seed in (0, 1) for size in (50, 100)),
    )
    table = report.table(sweep)
    assert sweep.varying == ["attack.round_size"]
    assert list(table["attack.round_size"]) == ["50", "100"]
    assert list(table["seeds"]) == [2, 2]
    assert list(setups(sweep)["attack"].unique()) == ["standard, round_size 50", "standard, round_size 100"]


def test_cells_of_several_seeds_that_differ_are_no_repetitions(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, (0, {"attack": {"budget": 50}}), (1, {"attack": {"budget": 100}}))
    assert list(report.table(sweep)["seeds"]) == [1, 1]


@pytest.mark.parametrize(
    "same",
    [
        {"seed": 0, "victim": {"seed": 0}},  # that follow the seed
        {
            "paths": {"store": "a"},
            "logger": {"name": "none"},
            "dataset": {"path": "a", "source": {"cache": "a"}},
        },
    ],
)
def test_seeds_and_places_are_no_difference(tmp_path: Path, same: dict[str, Any]) -> None:
    other = {
        section: {name: {"cache": "b"} if isinstance(value, dict) else 1 for name, value in options.items()}
        if isinstance(options, dict)
        else 1
        for section, options in same.items()
    }
    sweep = sweep_of(tmp_path, (0, same), (1, other))
    assert sweep.varying == []
    assert list(report.table(sweep)["seeds"]) == [2]


def test_options_of_a_defense_tell_cells_without_a_toll_apart(tmp_path: Path) -> None:
    free: dict[str, Any] = {"defense": "rounding", "calibration": None, "strength": None}
    for seed, decimals in ((0, 1), (0, 2), (1, 1), (1, 2)):
        config = {"seed": seed, "attack": {"seed": seed}, "defense": {"rounding": {"decimals": decimals}}}
        write_cell(tmp_path / f"{seed}_{decimals}", "standard", seed, [0.5], config=config, **free)
    sweep = report.load([tmp_path])
    assert sweep.varying == ["defense.rounding.decimals"]
    assert list(report.table(sweep)["seeds"]) == [2, 2]


def test_a_seed_of_its_own_tells_apart_where_nothing_else_does(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, (0, {"victim": {"seed": 0}}), (0, {"victim": {"seed": 7}}))
    assert sweep.varying == ["victim.seed"]
    assert list(report.table(sweep)["victim.seed"]) == ["0", "7"]


def test_an_option_that_follows_from_another_is_left_out(tmp_path: Path) -> None:
    networks = ("victims.architectures.lenet5.lenet5", "victims.architectures.resnet8.resnet8")
    sweep = sweep_of(
        tmp_path,
        *((0, {"victim": {"architecture": {"_target_": name}, "epochs": len(name)}}) for name in networks),
    )
    assert sweep.varying == ["victim.architecture"]
    assert list(report.table(sweep)["victim.architecture"]) == ["lenet5", "resnet8"]
    assert set(setups(sweep)["dataset"]) == {"digits, architecture lenet5", "digits, architecture resnet8"}


def test_an_option_of_a_later_version_is_no_difference(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, (0, {"attack": {"budget": 50}}), (1, {"attack": {"budget": 50, "new": 1}}))
    assert sweep.varying == []


def test_nothing_but_the_key_differs(tmp_path: Path) -> None:
    for number in range(2):
        write_cell(
            tmp_path / str(number), "standard", 0, [0.5 + number / 10], config={"attack": {"budget": 50}}
        )
    with pytest.raises(ValueError, match=r"standard on digits .* seed 0, and no option"):
        tidy(load_cells([tmp_path]))


def test_varying_options_have_a_row_a_cell(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, (0, {"attack": {"budget": 50}}), (1, {"attack": {"budget": 50}}))
    assert varying_options(load_cells([tmp_path]), sweep.cells).shape == (2, 0)


def test_each_curve_is_that_of_its_folder(tmp_path: Path) -> None:
    """Also where curves have other columns, and are read in other batches."""
    for number in range(6):
        without = ["cost_pate"] if number % 2 else []
        write_cell(
            tmp_path / f"{number}_a", "standard", number, [number / 10] * (number + 1), without=without
        )
    for number, cell in enumerate(load_cells([tmp_path])):
        assert cell.result["seed"] == number
        assert list(cell.curve["accuracy"]) == [number / 10] * (number + 1)
        assert ("cost_pate" in cell.curve) == (number % 2 == 0)


def test_strengths_of_one_defense(tmp_path: Path) -> None:
    for number, (strength, overhead) in enumerate([(4.0, 8.0), (0.5, 2.0)]):
        write_cell(tmp_path / str(number), "standard", 0, [0.5], strength=strength, overhead=overhead)
    write_cell(tmp_path / "2", "standard", 0, [0.5], strength=1.0, calibration="linear")
    write_cell(tmp_path / "3", "standard", 0, [0.5], defense="none", calibration=None, strength=None)
    rows = strengths(report.load([tmp_path]))
    assert list(rows["strength"]) == [0.5, 4.0]
    assert list(rows["overhead"]) == [2, 8]
    assert set(rows["toll"]) == {"pow"}


def test_hardware_is_named_where_there_is_a_choice(tmp_path: Path) -> None:
    for number, hardware in enumerate(("phone", "h100")):
        write_cell(tmp_path / str(number), "standard", 0, [0.5], hardware=hardware)
    assert list(finals(report.load([tmp_path]))["defense"]) == ["pow · phone", "pow · h100"]


def test_a_plain_toll_is_the_default_and_others_are_named(tmp_path: Path) -> None:
    """The default is read from conf/, so the label cannot fall behind it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", ["dataset=digits", "defense=pow"])
    target: Any = get_class(config["pow_calibration"]["_target_"])
    for number, calibration in enumerate((target.name, "paper", "linear")):
        write_cell(tmp_path / str(number), "standard", 0, [0.5], calibration=calibration)
    assert list(finals(report.load([tmp_path]))["defense"]) == ["pow", "pow paper", "pow linear"]


def test_times_are_of_the_hardware_that_each_side_solves_with() -> None:
    """100 s of the reference client, which the attacker's hardware does in 4, and the honest user's in 50."""
    curve = pd.DataFrame(
        {
            "query_seconds": [10.0],
            "pow_seconds": [100.0],
            "total_seconds": [115.0],  # of which 5 for pads
            "overhead": [11.5],
            "attacker_solve_seconds": [4.0],
            "honest_pow_seconds": [20.0],
            "honest_solve_seconds": [50.0],
            "honest_overhead": [3.0],
            "cheapest_pow_seconds": [50.0],
            "cheapest_overhead": [6.5],
        }
    )
    (row,) = on_own_hardware(curve).to_dict("records")
    assert row["total_seconds"] == 10 + 4 + 5 and row["overhead"] == 1.9
    assert row["honest_overhead"] == 6 and row["cheapest_pow_seconds"] == 2
    assert row["cheapest_overhead"] == pytest.approx(1 + (2 + 5) / 10)
    early = curve.drop(columns=["attacker_solve_seconds"])
    assert on_own_hardware(early).equals(early)


def test_machines_have_times_of_their_own_in_tables_and_curves(tmp_path: Path) -> None:
    for number, (hardware, seconds) in enumerate({"laptop_core": 90.0, "rtx4090": 0.5, "h100": 0.75}.items()):
        folder = tmp_path / str(number)
        write_cell(folder, "knockoff", 0, [0.5], overhead=91.0, hardware=hardware)
        told = {"pow_seconds": 90.0, "attacker_solve_seconds": seconds, "honest_pow_seconds": 0.1}
        curve = pd.read_csv(folder / "curve.csv").assign(**told, honest_solve_seconds=0.1)
        curve.to_csv(folder / "curve.csv", index=False)
    sweep = report.load([tmp_path])
    assert report.table(sweep)["total_seconds"].tolist() == [91.0, 1.5, 1.75]
    assert report.lines(sweep)["overhead"].tolist() == [91.0, 1.5, 1.75]
