"""The curve against a plain loop over queries, and the checks of the output folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from extraction.checkpoint import RoundResult
from pow.calibration import LinearExpectation
from pow.calibration.paper import PaperCalibration
from privacy import gnmax
from privacy.accountant import Accounting
from sweeps.curve import TraceAccounting, build_curve
from sweeps.files import check_writable, write_atomically
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
        ProofOfWork(calibration),
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
        assert row["measured_query_seconds"] == 1.5 * result.round
        assert row["measured_train_seconds"] == 2.5 * result.round


def test_a_curve_of_rounds_that_are_still_in_flight() -> None:
    """The trace may hold queries of a round that is not finished; the curve leaves them out."""
    curve = build_curve(ROUNDS[:2], trace(), ["gap"], TraceAccounting({}), 0.46, None)
    assert curve["queries"].tolist() == [30, 60]
    assert curve["cost_gap"].iloc[-1] == pytest.approx(trace()["cost_gap"][:60].sum())
    assert (curve["pow_seconds"] == 0).all() and (curve["overhead"] == 1).all()


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
