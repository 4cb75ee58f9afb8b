"""The paper's calibration against its own figures, and requests against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow.calibration.expectation import LinearExpectation
from pow.calibration.paper import PaperCalibration
from pow.puzzles import PuzzleSettings, Sha256Puzzle
from pow.requests import charge
from support.missing import shared_file

MNIST = LinearExpectation(0.2586695, -16.497579)
SHA256 = PuzzleSettings(Sha256Puzzle)


def reference(name: str) -> pd.DataFrame:
    return pd.read_csv(shared_file(f"reference/{name}"))


@pytest.mark.parametrize(
    ("dataset", "slope", "intercept"),
    [
        ("mnist", 0.2586695, -16.497579),
        ("svhn", 0.3293708, -0.645382),
        ("cifar10", 2.8028694, -46.005626),
    ],
)
def test_fit_gives_the_published_expectation(dataset: str, slope: float, intercept: float) -> None:
    benign = reference(f"traces/benign_{dataset}.csv")
    fitted = LinearExpectation.fit(benign["queries"].to_numpy(), benign["privacy"].to_numpy())
    assert fitted.slope == pytest.approx(slope, abs=1e-7)
    assert fitted.intercept == pytest.approx(intercept, abs=1e-6)


def test_seconds_of_the_published_replay() -> None:
    """After its first row, each row of a replay adds its own time and the extra seconds of its request."""
    replay = reference("replay_mnist_expected.csv")
    benign = reference("traces/benign_mnist.csv")
    expected = LinearExpectation.fit(benign["queries"].to_numpy(), benign["privacy"].to_numpy())
    calibration = PaperCalibration(expected)
    checked = 0
    for _, rows in replay.groupby("mode"):
        extra = rows["time_pow"].diff() - rows["time"].diff()
        ours = calibration.seconds(rows["privacy"].to_numpy(), rows["queries"].to_numpy())
        assert ours[1:] == pytest.approx(extra.to_numpy()[1:], rel=1e-6, abs=1e-9)
        checked += len(rows) - 1
    assert checked > 50


def test_seconds_against_a_scalar_loop() -> None:
    cost, queries = np.array([0.0, 300, 2000, 1e6, -1e6]), np.array([1.0, 1000, 2000, 3000, 4000])
    for sided in ("one", "two"):
        for strength in (0.25, 1.0, 8.0):
            calibration = PaperCalibration(MNIST, strength=strength, sided=sided)
            for c, n, seconds in zip(cost, queries, calibration.seconds(cost, queries), strict=True):
                deviation = c - (0.2586695 * n - 16.497579)
                deviation = abs(deviation) if sided == "two" else max(deviation, 0)
                expected = strength * 1.0075 ** min(deviation, 5000)
                assert seconds == pytest.approx(min(max(expected, 0.1), 2948.467908), rel=1e-12)


def test_hashes_of_the_papers_line() -> None:
    hashes = PaperCalibration(MNIST).expected_hashes(np.array([1.0, 10.0]))
    assert np.log2(hashes) == pytest.approx([18.5317509, 18.5317509 + 3.5142903], rel=1e-12)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=60),
    st.integers(1, 7),
)
def test_requests_against_a_loop(queries: list[tuple[int, int]], request_size: int) -> None:
    queries.sort(key=lambda query: query[0])
    rounds, accounts = np.array([q[0] for q in queries]), np.array([q[1] for q in queries])
    cost = np.arange(len(queries), dtype=float)
    calibration = PaperCalibration(LinearExpectation(0.5, 0.0), request_size=request_size)
    expected = []
    for round in sorted(set(rounds.tolist())):
        for account in sorted(set(accounts[rounds == round].tolist())):
            mine = [i for i in range(len(queries)) if rounds[i] == round and accounts[i] == account]
            for start in range(0, len(mine), request_size):
                request = mine[start : start + request_size]
                asked = sum(1 for i in range(request[-1] + 1) if accounts[i] == account)
                extra = 1.0075 ** abs(cost[request[-1]] - 0.5 * asked)
                expected.append((round, account, len(request), extra))
    bill = charge(calibration, SHA256, accounts, rounds, cost, accounts)
    assert bill["queries"].sum() == len(queries)
    assert bill[["round", "account", "queries"]].to_numpy().tolist() == [list(row[:3]) for row in expected]
    assert bill["seconds"].to_numpy() == pytest.approx([row[3] for row in expected], rel=1e-12)


def test_a_query_without_a_cost_is_not_priced() -> None:
    with pytest.raises(ValueError, match="NaN"):
        charge(PaperCalibration(MNIST), SHA256, np.zeros(2), np.ones(2), np.array([1.0, np.nan]), np.zeros(2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strength": 0}, "pow_calibration.strength must be a number above 0, not 0"),
        ({"strength": -1.0}, "pow_calibration.strength"),
        ({"base": 1.0}, "pow_calibration.base"),
        ({"sided": "both"}, "one of one, two"),
        ({"floor": 0.0}, "pow_calibration.floor"),
        ({"cap": 0.01}, "pow_calibration.cap"),
        ({"request_size": 0}, "pow_calibration.request_size"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PaperCalibration(MNIST, **options)  # type: ignore[arg-type]


def test_an_expectation_needs_two_points() -> None:
    with pytest.raises(ValueError, match="two different"):
        LinearExpectation.fit(np.array([5.0, 5.0]), np.array([1.0, 2.0]))
    assert math.isclose(LinearExpectation.fit(np.array([1.0, 2.0]), np.array([3.0, 5.0])).slope, 2.0)


def test_a_request_costs_as_often_as_its_last_query_says() -> None:
    calibration = PaperCalibration(MNIST, request_size=4)
    account, round = np.repeat([0, 1], 6), np.ones(12, dtype=int)
    cost = np.concatenate([np.linspace(0, 900, 6)] * 2)
    factor = np.array([1.0] * 3 + [5.0] * 3 + [1.0] * 5 + [5.0])
    plain = charge(calibration, SHA256, account, round, cost, account)
    surcharged = charge(calibration, SHA256, account, round, cost, account, factor)
    assert surcharged["queries"].tolist() == [4, 2, 4, 2]
    ratios = surcharged["seconds"] / plain["seconds"]
    assert ratios.tolist() == pytest.approx([5, 5, 1, 5])
    hashes = [calibration.expected_hashes(np.array([seconds]))[0] for seconds in surcharged["seconds"]]
    assert surcharged["expected_hashes"].tolist() == pytest.approx(hashes)
