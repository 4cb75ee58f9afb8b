"""The benchmarks run, and what they compare agrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from benchmarks import (
    attack_speed,
    best_response,
    cost_ratios,
    defenses,
    growth,
    page,
    peers,
    planning,
    privacy_costs,
    privacy_exactness,
    promise,
    puzzles,
    report,
)
from pow import fitting
from pow.hash_rate import own_search
from pow.puzzles import Sha256Puzzle
from privacy import gnmax
from support.missing import program
from sweeps.report.results import load_cells


def test_the_loop_and_the_measures_agree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["privacy_costs", "--queries", "60", "--train", "900", "--loop", "20"])
    privacy_costs.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row[0].split()[0] for row in rows] == ["epsilon", "votes", "pkNN:", "entropy", "gap"]
    for row in rows:
        assert float(row[-1]) < 1e-12


@pytest.mark.slow  # it measures for seconds
def test_the_table_of_errors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["privacy_exactness", "--histograms", "1", "--seed", "1"])
    privacy_exactness.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["any", "ties", "unanimity", "one teacher"]
    assert all(float(cell) < 1e-9 for row in rows for cell in row[1:])


def write_cell(folder: Path, attack: str, log_q: float) -> None:
    """A finished cell of 1,000 equal queries."""
    folder.mkdir(parents=True)
    cost = float(gnmax.query_epsilon_from_log_q(np.array([log_q]), 10.0, 1e-5))
    pd.DataFrame({"cost_pate": cost, "log_q_pate": log_q, "cost_gap": 0.5}, index=range(1000)).to_parquet(
        folder / "trace.parquet"
    )
    measures = {"pate": {"sigma": 10.0, "delta": 1e-5}, "gap": {}}
    OmegaConf.save(OmegaConf.create({"privacy": {"measures": measures}}), folder / "config.yaml")
    (folder / "result.json").write_text(json.dumps({"dataset": "mnist", "attack": attack}))
    pd.DataFrame({"round": [1]}).to_csv(folder / "curve.csv")


def test_ratios_to_the_standard_user(tmp_path: Path) -> None:
    write_cell(tmp_path / "0", "standard", -40.0)
    write_cell(tmp_path / "1", "knockoff", -0.7)
    (tmp_path / "paper.csv").write_text(
        "time (sec),mode,accuracy,diff queries,privacy cost\n"
        "0,standard,10,0,0\n1,standard,90,16,200\n0,knockoff,10,0,0\n1,knockoff,80,16,500\n"
    )
    costs = cost_ratios.our_costs(load_cells([tmp_path]))
    ratios = cost_ratios.ratios(
        pd.concat([costs, cost_ratios.papers_costs(tmp_path / "paper.csv", "mnist")])
    )[1000]
    expensive, cheap = (
        float(gnmax.query_epsilon_from_log_q(np.array([log_q]), 10.0, 1e-5)) for log_q in (-0.7, -40.0)
    )
    assert ratios["mnist", "pate", "summed", "knockoff"] == pytest.approx(expensive / cheap)
    assert ratios["mnist", "pate", "summed", "standard"] == 1
    assert ratios["mnist", "pate", "composed", "knockoff"] > expensive / cheap
    assert ratios["mnist", "gap", "summed", "knockoff"] == pytest.approx(1)
    assert ratios["mnist", "pate", "summed, paper", "knockoff"] == 2.5


def test_hashes_and_checks_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["puzzles", "--seconds", "0.01", "--no-compiled"])
    monkeypatch.setattr(puzzles, "cores", lambda: 2)
    puzzles.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    own = own_search("sha256")
    assert own.startswith("C")
    assert [row[0].strip() for row in rows] == [
        "sha256, naive loop",
        "sha256, our loop",
        f"sha256, {own}",
        "sha256, C without SHA instructions",
        f"sha256, {own}, 2 processes",
        "hashcash loop",
        "argon2id loop",
        "sha256 check",
        "hashcash check",
        "argon2id check",
    ]
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)
    assert [bool(row[2].strip()) for row in rows] == [True] * 5 + [False] * 5
    assert float(rows[0][2]) == 1


@pytest.mark.browser
def test_the_page_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    program("chromium")
    page.main(["--seconds", "0.01"])
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == [page.LOOP, "Python client", "page, WebAssembly", "page, loop"]
    assert float(rows[0][2]) == 1 and all(float(row[2]) > 0 for row in rows)


def test_the_naive_loop_finds_what_the_plain_loop_finds() -> None:
    puzzle = Sha256Puzzle(b"challenge", 50.0, 2)
    naive = puzzles.naive_search(puzzle)
    for part, start in ((0, 0), (1, 7), (1, 2**62)):
        assert naive(part, start, 2000) == puzzle.search(part, start, 2000) is not None
    assert naive(0, 0, 1) == puzzle.search(0, 0, 1)


def test_choosing_queries_agrees_with_the_loops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--images", "5", "--pool", "400", "--chosen", "20", "--dimensions", "8"]
    monkeypatch.setattr("sys.argv", ["attack_speed", *small])
    attack_speed.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row[0].split(",")[0].strip() for row in rows] == ["Jacobian step", "k-center"]
    assert float(rows[0][4].split()[1]) < 1e-5
    assert rows[1][4].strip() == "100 % equal"


@pytest.mark.slow  # it measures for seconds
def test_a_report_of_a_synthetic_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["report", "--cells", "40", "--keep", str(tmp_path)])
    report.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert rows[0][0].strip() == "read 40 cells"
    assert rows[-1][0].strip() == "together"
    assert float(rows[-1][1]) == pytest.approx(sum(float(row[1]) for row in rows[:-1]), abs=0.05)
    assert len(list((tmp_path / "report").glob("*.png"))) == 3


@pytest.mark.slow  # it composes every cell of a grid, twice
def test_the_plan_and_the_status_of_a_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["planning", "--seeds", "1", "attack.budget=100", "substitute=mnistnet"])
    monkeypatch.setattr(planning, "STRENGTHS", ("1",))
    monkeypatch.setattr(
        planning, "grid", lambda seeds, overrides, whole=planning.grid: whole(seeds, overrides)[:4]
    )
    planning.main()
    printed = capsys.readouterr().out
    assert "4 cells" in printed
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["planning, images decoded", "planning", "status"]
    assert all(float(row[1]) > 0 for row in rows)


def test_defenses_are_timed_and_mad_agrees_with_its_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["defenses", "--batch", "64", "--asked", "200", "--loop", "5"])
    monkeypatch.setattr(defenses, "REPEATS", 1)
    defenses.main()
    *lines, last = capsys.readouterr().out.strip().splitlines()
    rows = [line.split("│")[1:-1] for line in lines if line.startswith("│")]
    names = {path.stem for path in (defenses.ROOT / "conf" / "defense").glob("[!_]*.yaml")}
    assert {row[0].strip() for row in rows} == names - {"none", "pow"}
    assert all(float(row[1]) > 0 and float(row[2]) >= 0 for row in rows)
    assert float(last.split()[-1]) < 1e-6


def test_a_best_response_costs_less_than_what_was_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["best_response", "--queries", "900", "--times", "2"])
    best_response.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["progressive", "paper"]
    for row in rows:
        assert float(row[3]) == pytest.approx(float(row[2]) / float(row[1]), rel=0.1)
        assert 0 < float(row[5]) < 1


def test_the_printed_interval_holds_the_truth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fitting, "REPLICATES", 20)
    monkeypatch.setattr(promise, "TRUE_SAMPLES", 2)
    few = ["--fits", "2", "--images", "300", "--excess", "0.05"]
    monkeypatch.setattr("sys.argv", ["promise", *few])
    promise.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row[2].strip() for row in rows] == ["95 % below 2", "99 % below 4"]
    assert all(0.9 < float(row[4]) <= 1 for row in rows)


@pytest.mark.slow  # it starts processes that import all
def test_growth_is_measured_for_each_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--planned", "2", "--reported", "6", "--queries"]  # an extraction takes half a minute more
    monkeypatch.setattr("sys.argv", ["growth", *sizes])
    growth.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["2 cells planned", "6 cells reported"]
    assert all(float(row[3].replace(",", "")) > 100 for row in rows)


@pytest.mark.slow  # it trains
def test_our_side_of_the_peers_copies_the_victim(tmp_path: Path) -> None:
    few = [
        "attack.budget=400",
        "attack.round_size=400",
        "substitute.recipe.epochs=10",
        "victim.recipe.epochs=5",
    ]
    run = peers.measure("ours", "standard", ["dataset=digits", *few, f"paths.store={tmp_path}"])
    assert run.seconds > 0 and run.accuracy > 0.5 and run.fidelity > 0.5


def test_the_peers_are_compared_seed_by_seed() -> None:
    mine = [peers.Measured(seconds, 10.0, 0.5, 0.25) for seconds in (1.0, 2.0, 3.0)]
    theirs = [peers.Measured(seconds, 20.0, 0.75, 0.5) for seconds in (4.0, 2.0, 4.0)]
    told = peers.row("knockoff", mine, theirs)
    assert told[1:3] == ["50.0 (50.0 to 50.0)", "75.0 (75.0 to 75.0)"]
    assert told[5:7] == ["2.0 (1.0 to 3.0)", "4.0 (2.0 to 4.0)"]
    assert told[7:] == ["0.75 (0.25 to 1.00)", "10", "20"], "the median of ratios, not a ratio of medians"
