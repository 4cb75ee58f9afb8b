"""The table over seeds: means, intervals, what counts as a repetition."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sweeps import report
from sweeps.over_seeds import markdown, over_seeds, points
from sweeps.results import load_cells


def write_cell(folder: Path, attack: str, seed: int, accuracies: list[float], key: str | None = None) -> None:
    """A finished cell of 100 queries a round."""
    folder.mkdir(parents=True)
    rounds = np.arange(1, len(accuracies) + 1)
    pd.DataFrame(
        {
            "round": rounds,
            "queries": 100 * rounds,
            "accuracy": accuracies,
            "fidelity": accuracies,
            "cost_pate": 30.0 * rounds,
            "query_seconds": 1.0 * rounds,
            "total_seconds": 2.0 * rounds,
            "overhead": 2.0,
            "honest_overhead": 1.1,
            "thief_usd": 0.001,
            "measured_train_seconds": 1.0 + seed,
            "measured_peak_mib": 700.0,
        }
    ).to_csv(folder / "curve.csv", index=False)
    result = {
        "dataset": "digits",
        "attack": attack,
        "defense": "pow",
        "seed": seed,
        "victim_accuracy": 0.98,
        "keys": {"cell": key or f"{attack} {seed}"},
    }
    (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed, last in enumerate([0.90, 0.92, 0.97]):
        write_cell(tmp_path / f"{seed}_standard", "standard", seed, [0.5 + seed / 10, last])
    write_cell(tmp_path / "3_knockoff", "knockoff", 0, [0.3, 0.6])
    return tmp_path


def test_means_and_students_intervals(sweep: Path) -> None:
    table = over_seeds(points(load_cells([sweep]))).set_index("attack")
    standard = table.loc["standard"]
    assert standard["seeds"] == 3
    assert standard["accuracy"] == pytest.approx(0.93)
    # t(0.975, 2 degrees of freedom) = 4.3027 (any table); the deviation of the three is 0.036056
    assert standard["accuracy_interval"] == pytest.approx(4.30265 * 0.0360555 / np.sqrt(3), rel=1e-5)
    assert standard["cost_pate_interval"] == 0
    assert table.loc["knockoff", "seeds"] == 1
    assert table["accuracy_interval"].isna()["knockoff"]


def test_points_along_the_curve(sweep: Path) -> None:
    cells = load_cells([sweep])
    table = over_seeds(points(cells, at=[50, 100, 150, 200, 201]))
    standard = table[table["attack"] == "standard"]
    assert list(standard["queries"]) == [100, 200]
    assert list(standard["accuracy"]) == pytest.approx([0.6, 0.93])
    assert list(standard["cost_pate"]) == [30, 60]


def test_a_cell_in_two_folders_counts_once(sweep: Path) -> None:
    write_cell(sweep / "again" / "0_standard", "standard", 0, [0.5, 0.90])
    assert over_seeds(points(load_cells([sweep]))).loc[0, "seeds"] == 3


def test_cells_that_differ_in_more_than_their_seed_have_no_mean(sweep: Path) -> None:
    write_cell(sweep / "4_standard", "standard", 1, [0.5, 0.99], key="another round size")
    with pytest.raises(ValueError, match=r"standard on digits .* seed 1, and differ in other options"):
        over_seeds(points(load_cells([sweep])))


def test_markdown_states_each_interval(sweep: Path) -> None:
    head, _, standard, knockoff = markdown(over_seeds(points(load_cells([sweep])))).splitlines()
    cells = dict(zip(head.split(" | "), standard.split(" | "), strict=True))
    assert cells["accuracy %"] == "93.00 ± 9"
    assert cells["seeds"] == "3"
    assert cells["training, s"] == "2 ± 2.5"
    assert "| 60.00 |" in knockoff and "±" not in knockoff


def test_the_command(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["report", str(sweep), "--out", str(sweep / "report")])
    report.main()
    assert (sweep / "report" / "table.md").read_text() == capsys.readouterr().out
    assert len(pd.read_csv(sweep / "report" / "table.csv")) == 2
    assert (sweep / "report" / "accuracy_digits.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["report", str(tmp_path)])
    with pytest.raises(SystemExit):
        report.main()
    assert "no finished cell" in capsys.readouterr().err
