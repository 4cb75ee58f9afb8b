"""The tariff: what is asked for is what is owed, however it is cut, and tells little of an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pow.calibration.constant import ConstantCalibration
from pow.calibration.expectation import LinearExpectation
from pow.calibration.progressive import ProgressiveCalibration
from pow.gains import Gain
from pow.gains.coverage import CoverageGain
from pow.gains.excess import ExcessGain
from pow.gains.volume import VolumeGain
from pow.puzzles import PuzzleSettings
from pow.puzzles.hashcash import HashcashPuzzle
from pow.tariff import LineTariff, ProgressiveTariff, Standing, Tariff, settled, unpaid

RANDOM = np.random.default_rng(0)
HONEST = pd.DataFrame(
    {"cost_entropy": RANDOM.gamma(0.2, size=2000), "bucket": RANDOM.integers(60, size=2000)}
)
EACH: dict[str, Gain] = {
    "excess": ExcessGain(measure="entropy", quantile=0.9, weight=0.2).fitted(HONEST),
    "volume": VolumeGain(weight=0.8),
    "coverage": CoverageGain(weight=0.5, hyperplanes=6).fitted(HONEST),
}
GAINS = [*({name: gain} for name, gain in EACH.items()), EACH]


def tariff(gains: dict[str, Gain] = EACH, spread: int = 32, **options: float) -> ProgressiveTariff:
    calibration = ProgressiveCalibration(gains=gains, allowance=100.0, steepness=0.1, **options)  # type: ignore[arg-type]
    return ProgressiveTariff(calibration, spread)


def asked(priced: ProgressiveTariff, rows: pd.DataFrame, cuts: list[int], now: float = 0.0) -> list[Standing]:
    """The standings after each request; a cut says how many images a request has."""
    revealed = priced.calibration.total.revealed(rows)
    standings, start = [priced.fresh(revealed.shape[1], now)], 0
    for size in [*cuts, len(rows)]:
        if start < len(rows) and size:
            standings.append(priced.after(standings[-1], revealed[start : start + size], now))
            start += size
    return standings[1:]


def total(standings: list[Standing]) -> float:
    return sum(each.price for each in standings)


queries = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 59)), min_size=1, max_size=40).map(
    lambda rows: pd.DataFrame(rows, columns=["cost_entropy", "bucket"])
)


@pytest.mark.parametrize("gains", GAINS, ids="+".join)
@given(rows=queries, cuts=st.lists(st.integers(1, 10)))
def test_any_cut_asks_for_the_same(gains: dict[str, Gain], rows: pd.DataFrame, cuts: list[int]) -> None:
    whole, parts = asked(tariff(gains), rows, []), asked(tariff(gains), rows, cuts)
    assert total(parts) == pytest.approx(total(whole), rel=1e-9)


@pytest.mark.parametrize("gains", GAINS, ids="+".join)
@given(rows=queries)
def test_all_that_is_owed_is_asked_for_or_carried(gains: dict[str, Gain], rows: pd.DataFrame) -> None:
    priced = tariff(gains)
    standings = asked(priced, rows, [1] * len(rows))
    last, calibration = standings[-1], priced.calibration
    owed = calibration.expected_hashes(calibration.potential(calibration.total.cumulative(rows)[-1:]))[0]
    assert total(standings) + last.carried + last.debt == pytest.approx(owed, rel=1e-9)
    assert all(np.log2(each.price) == round(np.log2(each.price)) for each in standings)
    assert 0 <= last.carried <= max(each.price for each in standings) * 2


def test_a_thousand_images_cost_what_they_cost_one_by_one() -> None:
    rows = HONEST[:1000]
    assert total(asked(tariff(), rows, [])) == pytest.approx(total(asked(tariff(), rows, [1] * 1000)))


@pytest.mark.parametrize("size", [3, 7, 64])
def test_what_a_puzzle_rounds_off_is_asked_for_later(size: int) -> None:
    """Stamps know whole bits, so a request of several images would cost less than its images one by one."""
    stamps, rows = PuzzleSettings(HashcashPuzzle, parts=1), HONEST[: 64 * 21]
    priced = replace(tariff(), puzzle=stamps)
    standings = asked(priced, rows, [size] * (len(rows) // size))
    granted = sum(stamps.puzzle(b"any", each.price).expected_hashes for each in standings)
    assert granted == total(standings)
    one_by_one = total(asked(priced, rows, [1] * len(rows)))
    assert granted + standings[-1].carried == pytest.approx(one_by_one, rel=0.01)
    assert 0 <= standings[-1].carried < 2 * standings[-1].price


def after_one(priced: Tariff, before: Standing, revealed: np.ndarray, pays: bool) -> tuple[Standing, float]:
    """What a ledger holds after a request, and what was paid for it."""
    after = priced.after(before, revealed, 0.0)
    kept = unpaid(before, after)
    if not pays:
        return kept, 0.0
    numbers, settles = kept.vector(), settled(kept, after)
    numbers[: len(settles)] += settles
    np.testing.assert_allclose(numbers, after.vector(), rtol=1e-9, atol=1e-6)
    return Standing.of(numbers), after.price


requests = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 70), st.booleans()), min_size=1, max_size=40)


@given(requests)
def test_what_is_not_paid_for_sheds_no_debt(requests: list[tuple[float, int, bool]]) -> None:
    """Of what was answered all is paid or still owed, whatever was asked in between and left."""
    priced = tariff({"excess": ExcessGain(1.0, 1.0, "entropy")})
    standing, paid, answered, level = priced.fresh(1, 0.0), 0.0, 0.0, 0.0
    potential, hashes = priced.calibration.potential, priced.calibration.expected_hashes
    for gain, images, pays in requests:
        standing, price = after_one(priced, standing, np.full((images, 1), gain), pays)
        before, level = level, level + gain * images
        paid += price
        answered += float(hashes(np.diff(potential(np.array([before, level]))))[0]) * pays
    left = standing.debt + standing.carried
    assert paid + left >= answered * (1 - 1e-9) - 1e-3


@pytest.mark.parametrize("junk", [0, 16, 64])
@pytest.mark.parametrize("gains", [{"excess": ExcessGain(1.0, 1.0, "entropy")}, EACH], ids=["excess", "each"])
def test_asking_and_leaving_in_between_saves_nothing(gains: dict[str, Gain], junk: int) -> None:
    """An attacker who pays for dear images alone, and leaves cheap ones that would have paid their debt."""
    priced = tariff(gains)
    rows = pd.DataFrame({"cost_entropy": [9.0, 0.0], "bucket": [0, 0]})
    dear, cheap = (priced.calibration.total.revealed(rows)[each : each + 1] for each in (0, 1))
    alone = left_alone = priced.fresh(dear.shape[1], 0.0)
    paid_alone = paid = 0.0
    for _ in range(600):
        alone, price = after_one(priced, alone, dear, True)
        paid_alone += price
        left_alone, price = after_one(priced, left_alone, dear, True)
        paid += price
        if junk:
            left_alone, _ = after_one(priced, left_alone, np.repeat(cheap, junk, 0), False)
    assert paid >= 0.9 * paid_alone


def test_under_a_line_what_is_left_takes_no_rounding_with_it() -> None:
    """Three hashes are owed each time, so two are asked for, then four; the fours are left."""
    free = LinearExpectation(0.0, 0.0)
    line = ConstantCalibration(free, each=3.0, request_size=8, reference_rate=1.0)
    priced = LineTariff(line, lambda sums: float(sums[0]))
    standing, paid = priced.fresh(1, 0.0), 0.0
    for number in range(100):
        standing, price = after_one(priced, standing, np.ones((1, 1)), number % 2 == 0)
        paid += price
    assert paid + standing.carried >= 150
    assert standing.carried <= 4


def test_what_a_long_account_leaves_unpaid_is_little() -> None:
    rows = HONEST.iloc[np.random.default_rng(1).integers(2000, size=2000)].assign(cost_entropy=2.0)
    priced = tariff()
    last = asked(priced, rows, [])[-1]
    owed = priced.calibration.expected_hashes(priced.calibration.potential(np.array([last.gain])))[0]
    assert 0 < last.debt + last.carried < 0.05 * owed


@pytest.mark.parametrize("gains", GAINS, ids="+".join)
@pytest.mark.parametrize("lag", [0, 1, 2, 8])
def test_a_price_tells_next_to_nothing_of_an_answer(gains: dict[str, Gain], lag: int) -> None:
    """Mean correlation over accounts of 600 images, asked one at a time, with the cost some images before."""
    found = []
    for seed in range(12):
        rows = HONEST.iloc[np.random.default_rng(seed).integers(2000, size=600)]
        prices = [each.price for each in asked(tariff(gains), rows, [1] * 600)]
        cost = rows["cost_entropy"].to_numpy()
        found.append(spearmanr(prices[lag:], cost[: len(cost) - lag]).statistic)
    assert abs(np.mean(np.nan_to_num(found))) < 0.1


def test_an_allowance_is_forgiven_between_requests() -> None:
    priced = tariff({"volume": VolumeGain()}, recovery_days=2.0)
    revealed = np.ones((150, 1))
    first = priced.after(priced.fresh(1, 0.0), revealed, 0.0)
    later = priced.after(first, revealed[:1], 86400.0)
    assert first.gain == 150.0 and later.gain == pytest.approx(101.0)
    assert later.sums.tolist() == [151.0]


def test_a_standing_is_kept_as_numbers() -> None:
    standing = asked(tariff(), HONEST[:5], [])[-1]
    again = Standing.of(standing.vector())
    assert again.vector().tolist() == standing.vector().tolist()


def test_what_is_not_finite_or_of_another_width_is_not_priced() -> None:
    priced = tariff({"volume": VolumeGain()})
    for revealed, said in ((np.array([[np.nan]]), "not finite"), (np.ones((1, 2)), "has shape")):
        with pytest.raises(ValueError, match=said):
            priced.after(priced.fresh(1, 0.0), revealed, 0.0)
    with pytest.raises(ValueError, match="spread must be at least 1"):
        tariff(spread=0)
