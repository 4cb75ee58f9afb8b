"""The curve against a plain loop over queries, and the checks of the output folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from experiment.pricing.bills import Billing, HonestWork, until_given_up
from experiment.pricing.curve import TraceAccounting, build_curve
from extraction.checkpoint import RoundResult
from pow.calibration import LinearExpectation
from pow.calibration.paper import PaperCalibration
from pow.hardware import Hardware
from pow.puzzles import PuzzleSettings, Sha256Puzzle
from privacy import gnmax
from privacy.accountant import Accounting
from storage.files import check_writable, write_atomically, write_text
from victims.defenses.pow import ProofOfWork

SIGMA, DELTA = 10.0, 1e-5
ROUNDS = [RoundResult(r, 30 * r, 0.1 * r, 0.2 * r, 1.5, 2.5) for r in (1, 2, 3)]


def trace() -> pd.DataFrame:
    """Ninety queries of two accounts in three rounds."""
    log_q = -np.random.default_rng(0).uniform(0.5, 60, 90)
    return pd.DataFrame(
        {
            "round": np.repeat([1, 2, 3], 30),
            "account": np.tile(np.repeat([0, 1], 15), 3),
            "cost_pate": gnmax.query_epsilon_from_log_q(log_q, SIGMA, DELTA).numpy(),
            "log_q_pate": log_q,
            "cost_gap": np.linspace(0, 1, 90),
        }
    )


def billing(calibration: PaperCalibration) -> Billing:
    attacker = Hardware("fast", {"sha256": 1e6}, watts=360.0, usd_per_hour=7.2, source="invented")
    honest = Hardware("slow", {"sha256": 1e3}, watts=3.6, usd_per_hour=0.36, source="invented")
    work = HonestWork(np.array([0.0, 40.0, 80.0]), np.array([0.0, 2.0, 4.0]), np.array([0.0, 2e4, 3e4]))
    return Billing(ProofOfWork().bind(calibration, PuzzleSettings(Sha256Puzzle)), attacker, honest, work)


@pytest.mark.parametrize("accounting", ["summed", "composed"])
def test_a_curve_against_a_loop(accounting: Literal["summed", "composed"]) -> None:
    queries, expected = trace(), LinearExpectation(0.3, 1.0)
    calibration = PaperCalibration(expected, strength=2.0, request_size=10)
    curve = build_curve(
        ROUNDS,
        queries,
        ["pate", "gap"],
        TraceAccounting({"pate": Accounting(SIGMA, DELTA, accounting)}),
        0.46,
        billing(calibration),
    )

    def cost(rows: list[int]) -> float:
        if accounting == "summed":
            return sum(queries["cost_pate"].iloc[row] for row in rows)
        rdp = sum(
            gnmax.rdp(queries["log_q_pate"].iloc[[row]].to_numpy(copy=True), SIGMA, gnmax.ORDERS)[0]
            for row in rows
        )
        return float(gnmax.epsilon(rdp, gnmax.ORDERS, DELTA))  # type: ignore[arg-type]

    work = hashes = 0.0
    asked: dict[int, list[int]] = {0: [], 1: []}
    for position, result in enumerate(ROUNDS):
        bits = []
        for account in (0, 1):
            mine = [i for i in range(90) if queries["round"][i] == result.round]
            mine = [i for i in mine if queries["account"][i] == account]
            for request in (mine[:10], mine[10:]):
                asked[account] += request
                deviation = abs(cost(asked[account]) - (0.3 * len(asked[account]) + 1.0))
                seconds = min(max(2.0 * 1.0075**deviation, 0.1), 2948.467908)
                work += seconds
                bits.append(3.5142903 * np.log10(seconds) + 18.5317509)
                hashes += 2.0 ** bits[-1]
        row = curve.iloc[position]
        assert (row["round"], row["queries"]) == (result.round, result.queries)
        assert (row["accuracy"], row["fidelity"]) == (result.accuracy, result.fidelity)
        assert row["cost_pate"] == pytest.approx(cost(list(range(result.queries))), rel=1e-10)
        assert row["cost_gap"] == pytest.approx(sum(queries["cost_gap"][: result.queries]))
        assert row["query_seconds"] == pytest.approx(result.queries / 64 * 0.46)
        assert row["pow_seconds"] == pytest.approx(work, rel=1e-9)
        assert row["total_seconds"] == pytest.approx(row["query_seconds"] + work, rel=1e-9)
        assert row["overhead"] == pytest.approx(row["total_seconds"] / row["query_seconds"])
        assert row["expected_hashes"] == pytest.approx(hashes, rel=1e-9)
        assert row["difficulty_bits"] == pytest.approx(np.mean(bits), rel=1e-9)
        assert row["attacker_solve_seconds"] == pytest.approx(hashes / 1e6, rel=1e-9)
        assert row["attacker_kwh"] == pytest.approx(hashes / 1e6 * 360 / 3.6e6, rel=1e-9)
        assert row["attacker_usd"] == pytest.approx(hashes / 1e6 / 3600 * 7.2, rel=1e-9)
        honest = {30: (1.5, 1.5e4), 60: (3.0, 2.5e4), 90: (4.0, 3e4)}[result.queries]
        assert row["honest_pow_seconds"] == pytest.approx(honest[0])
        assert row["honest_overhead"] == pytest.approx(1 + honest[0] / row["query_seconds"])
        assert row["honest_solve_seconds"] == pytest.approx(honest[1] / 1e3)
        assert row["honest_kwh"] == pytest.approx(honest[1] / 1e3 * 3.6 / 3.6e6)
        assert row["honest_usd"] == pytest.approx(honest[1] / 1e3 / 3600 * 0.36)
        assert row["measured_query_seconds"] == 1.5 * result.round
        assert row["measured_train_seconds"] == 2.5 * result.round


def test_a_curve_of_rounds_that_are_still_in_flight() -> None:
    """The trace may hold queries of a round that is not finished; the curve leaves them out."""
    curve = build_curve(ROUNDS[:2], trace(), ["gap"], TraceAccounting({}), 0.46, None)
    assert curve["queries"].tolist() == [30, 60]
    assert curve["cost_gap"].iloc[-1] == pytest.approx(trace()["cost_gap"][:60].sum())
    assert (curve["pow_seconds"] == 0).all() and (curve["overhead"] == 1).all()
    assert (curve["attacker_usd"] == 0).all() and (curve["honest_overhead"] == 1).all()


def test_an_attacker_gives_up_before_the_round_it_cannot_pay() -> None:
    curve = pd.DataFrame(
        {"round": [1, 2, 3], "queries": [10, 20, 30], "accuracy": [0.5, 0.6, 0.7], "fidelity": 0.5}
        | {"attacker_usd": [1.0, 2.0, 4.0], "overhead": 3.0, "honest_overhead": 1.2}
    )
    assert until_given_up(curve, None, 10).equals(curve)
    assert until_given_up(curve, 4.0, 10)["round"].tolist() == [1, 2, 3]
    assert until_given_up(curve, 3.9, 10)["round"].tolist() == [1, 2]
    nothing = until_given_up(curve, 0.9, 10)
    assert nothing[["round", "queries", "attacker_usd"]].to_numpy().tolist() == [[0, 0, 0]]
    assert nothing[["accuracy", "fidelity", "overhead"]].to_numpy().tolist() == [[0.1, 0.1, 1.0]]


def test_a_full_disk_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=30 * 2**20))
    with pytest.raises(OSError, match=r"only 30 MiB are free in .* \(paths.store\); at least 200 MiB"):
        check_writable(tmp_path / "store", "paths.store")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["curve.csv"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    """Once it is old: another process may be writing the same file."""
    old, new, other = (tmp_path / name for name in (".a[1].csv.1.tmp", ".a[1].csv.2.tmp", ".b.csv.1.tmp"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    write_atomically(tmp_path / "a[1].csv", lambda path: write_text(path, "whole"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, other.name, "a[1].csv"]
