"""The progressive calibration's potential, against its definition and a quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from pow.calibration.progressive import ProgressiveCalibration
from pow.gains.volume import VolumeGain

GAINS = {"volume": VolumeGain()}


def potential(gain: float, **options: float) -> float:
    made = ProgressiveCalibration(gains=GAINS, **options)  # type: ignore[arg-type]
    return float(made.potential(np.array([gain]))[0])


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
def test_the_potential_is_the_integral_of_a_capped_price(exponent: float) -> None:
    """A query's price is its share of the own time, and rises beyond the allowance until the cap."""
    own, strength, share, allowance, steepness, cap = 0.64 / 64, 1.7, 0.2, 50.0, 0.4, 30.0

    def price(gain: float) -> float:
        beyond = max(gain / allowance - 1, 0.0)
        return min(strength * own * (share + steepness * exponent * beyond ** (exponent - 1)), cap / 64)

    for gain in (0.0, 10.0, 50.0, 120.0, 3000.0):
        expected = quad(price, 0, gain, points=[allowance, 700.0], limit=200)[0]
        options = {"share": share, "exponent": exponent, "allowance": allowance, "steepness": steepness}
        found = potential(gain, request_seconds=0.64, strength=strength, cap=cap, **options)
        assert found == pytest.approx(expected, rel=1e-6), gain


def test_ten_per_cent_more_cost_tens_of_per_cent() -> None:
    """Where an exponential of the deviation cost a hundred times as much."""
    options = {"allowance": 100.0, "steepness": 0.1}
    assert potential(1100.0, **options) / potential(1000.0, **options) < 1.3
    assert potential(2000.0, **options) / potential(1000.0, **options) < 5


def test_the_share_at_the_cap() -> None:
    made = ProgressiveCalibration(gains=GAINS, allowance=10.0, steepness=1.0, cap=1.0)
    below, beyond = made.capped_at, 2 * made.capped_at
    assert made.share_at_cap(np.array([0.0, below])).tolist() == [0.0, 0.0]
    bills = made.potential(np.array([below, beyond]))
    assert made.share_at_cap(np.array([beyond]))[0] == pytest.approx((bills[1] - bills[0]) / bills[1])


def test_a_cap_below_the_share_is_a_straight_line() -> None:
    made = ProgressiveCalibration(gains=GAINS, share=10.0, cap=0.64, request_seconds=0.64)
    assert made.potential(np.array([0.0, 64.0, 640.0])) == pytest.approx([0.0, 0.64, 6.4])


def test_an_allowance_is_forgiven_in_time() -> None:
    made = ProgressiveCalibration(gains=GAINS, allowance=50.0, recovery_days=2.0)
    assert made.recovered(120.0, 86400.0) == pytest.approx(95.0)
    assert made.recovered(20.0, 86400.0) == 0.0
    assert ProgressiveCalibration(gains=GAINS).recovered(120.0, 1e9) == 120.0


@pytest.mark.parametrize("exponent", [1.00001, 1.01, 1.1])
def test_near_an_exponent_of_one_the_cap_is_never_reached(exponent: float) -> None:
    made = ProgressiveCalibration(gains={"volume": VolumeGain()}, exponent=exponent, steepness=1e-3)
    assert made.capped_at > 1e40
    assert np.isfinite(made.potential(np.array([1.0, 1e6]))).all()
