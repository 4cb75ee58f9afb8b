"""What holds for the paper's calibration whatever an account asks."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow.calibration.expectation import LinearExpectation
from pow.calibration.paper import PaperCalibration

EXPECTED = LinearExpectation(0.25, -16.0)
COSTS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20).map(lambda costs: np.sort(np.array(costs)))


@given(COSTS, st.floats(0.01, 100))
def test_seconds_stay_between_floor_and_cap_and_grow_with_cost(cost: np.ndarray, strength: float) -> None:
    queries = np.full(len(cost), 1000)
    one = PaperCalibration(EXPECTED, strength=strength, sided="one").seconds(cost, queries)
    two = PaperCalibration(EXPECTED, strength=strength, sided="two").seconds(cost, queries)
    assert (one >= 0.1).all() and (two <= 2948.467908).all()
    assert (np.diff(one) >= 0).all()
    assert (two >= one).all()
    above = cost >= EXPECTED(queries)
    assert np.array_equal(one[above], two[above])


@pytest.mark.parametrize("seconds", [0.1, 0.4567, 3.0, 2948.467908])
def test_expected_hashes_are_exact(seconds: float) -> None:
    with mpmath.workdps(50):
        bits = mpmath.mpf("3.5142903") * mpmath.log10(seconds) + mpmath.mpf("18.5317509")
        expected = float(mpmath.power(2, bits))
    hashes = PaperCalibration(EXPECTED).expected_hashes(np.array([seconds]))
    assert hashes.tolist() == pytest.approx([expected], rel=1e-12)
