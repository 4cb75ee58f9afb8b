"""The attacker's best response, against loops and what must hold of it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from pow.best_response import Pricelist
from pow.calibration import Calibration, LinearExpectation
from pow.calibration.linear import LinearCalibration
from pow.calibration.paper import PaperCalibration
from pow.calibration.progressive import ProgressiveCalibration
from pow.gains import Gain
from pow.gains.coverage import CoverageGain
from pow.gains.volume import VolumeGain
from pow.puzzles import PuzzleSettings, Sha256Puzzle


def trace(queries: int = 300, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "round": np.arange(queries) // 100,
            "account": 0,
            "cost_pate": random.uniform(0.05, 1.5, size=queries),
            "bucket": random.integers(16, size=queries),
        }
    )


def prices(calibration: Calibration, account_seconds: float = 0.0) -> Pricelist:
    def cost(rows: pd.DataFrame) -> np.ndarray:
        return rows["cost_pate"].to_numpy().cumsum()

    return Pricelist(calibration, PuzzleSettings(Sha256Puzzle), cost, "cost_pate", account_seconds)


def progressive(gains: dict[str, Gain] | None = None, **options: float) -> ProgressiveCalibration:
    made = {"allowance": 10.0, "steepness": 0.5} | options
    return ProgressiveCalibration(gains=gains or {"volume": VolumeGain()}, **made)  # type: ignore[arg-type]


@pytest.mark.parametrize("account_seconds", [0.0, 0.5])
def test_accounts_against_a_loop(account_seconds: float) -> None:
    calibration, rows = progressive({"coverage": CoverageGain(hyperplanes=4)}), trace()
    least = math.inf
    for accounts in (1, 2, 3, 5, 10, 20, 50, 100, 200):
        bill = accounts * account_seconds
        for part in np.array_split(rows["bucket"].to_numpy(), accounts):
            bill += float(calibration.potential(np.array([len(set(part))]))[0])
        least = min(least, bill)
    found = prices(calibration, account_seconds).respond(rows, "best")
    assert found.seconds == pytest.approx(least, rel=0.05), "accounts may differ by a query"
    assert found.expected_hashes == pytest.approx(found.seconds * calibration.reference_rate)


def test_a_price_of_identity_makes_the_bill_linear_in_the_queries() -> None:
    """With T = c n^2 and accounts for A, the least bill is 2 n sqrt(c A) at n sqrt(c / A) accounts."""
    account_seconds, allowance = 2.0, 1e-6
    calibration = progressive(share=1e-9, allowance=allowance, steepness=1e-9, cap=1e12)
    factor = calibration.own_seconds * calibration.steepness / allowance
    for queries in (1000, 2000):
        found = prices(calibration, account_seconds).respond(trace(queries), "split")
        assert found.seconds == pytest.approx(2 * queries * math.sqrt(factor * account_seconds), rel=0.1)
        assert found.accounts == pytest.approx(queries * math.sqrt(factor / account_seconds), rel=1.0)


def test_padding_steers_what_charges_by_a_line_and_no_potential() -> None:
    rows, line = trace(), LinearExpectation(0.25, 0.0)
    for calibration in (PaperCalibration(line, base=1.2), LinearCalibration(line, slope=1.0)):
        priced = prices(calibration)
        plain, padded = priced.respond(rows, "none"), priced.respond(rows, "pad")
        assert padded.pads > 0 and padded.seconds < plain.seconds / 5
    assert prices(progressive()).respond(rows, "pad").pads == 0


def test_padding_holds_the_cost_at_the_line() -> None:
    """In a loop: pads are asked while the next query would end beyond the line."""
    rows, line = trace(40), LinearExpectation(0.25, 0.5)
    cost = rows["cost_pate"].tolist()
    cheapest, spent, asked, pads = min(cost), 0.0, 0, 0
    for each in cost:
        while spent + each > line(np.array([asked + 1]))[0] + 1e-12:
            spent, asked, pads = spent + cheapest, asked + 1, pads + 1
        spent, asked = spent + each, asked + 1
    found = prices(LinearCalibration(line, slope=1.0)).respond(rows, "pad")
    assert found.pads == pads


@pytest.mark.parametrize("account_seconds", [0.0, 3.0])
def test_a_best_response_is_never_dearer(account_seconds: float) -> None:
    for calibration in (
        progressive(),
        progressive({"coverage": CoverageGain(hyperplanes=4)}),
        LinearCalibration(LinearExpectation(0.25, 0.0)),
        PaperCalibration(LinearExpectation(0.25, -5.0)),
    ):
        priced = prices(calibration, account_seconds)
        best = priced.respond(trace(), "best").seconds
        assert best <= min(priced.respond(trace(), evade).seconds for evade in ("none", "pad", "split"))
