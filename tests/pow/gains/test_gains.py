"""Gains: each against a loop, and what must hold of all of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow.calibration.progressive import ProgressiveCalibration
from pow.gains import Gain, Gains
from pow.gains.coverage import CoverageGain
from pow.gains.excess import ExcessGain
from pow.gains.volume import VolumeGain

BUCKETS = 8


def honest(images: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {"cost_pate": random.gamma(0.3, size=images), "bucket": random.integers(BUCKETS // 2, size=images)}
    )


EACH: dict[str, Gain] = {
    "excess": ExcessGain().fitted(honest()),
    "volume": VolumeGain(weight=0.5),
    "coverage": CoverageGain(weight=2.0, hyperplanes=3).fitted(honest()),
}
GAINS = [*({name: gain} for name, gain in EACH.items()), EACH]

queries = st.lists(st.tuples(st.floats(0, 50), st.integers(0, BUCKETS - 1)), min_size=1, max_size=30).map(
    lambda rows: pd.DataFrame(rows, columns=["cost_pate", "bucket"])
)


def calibration(gains: dict[str, Gain], **options: float) -> ProgressiveCalibration:
    return ProgressiveCalibration(gains=gains, allowance=3.0, steepness=0.7, **options)  # type: ignore[arg-type]


def bill(priced: ProgressiveCalibration, rows: pd.DataFrame, cuts: list[int]) -> float:
    """The account's bill where requests end at the cuts."""
    cumulative = priced.total.cumulative(rows)
    ends = np.array(sorted({min(cut, len(rows)) for cut in cuts} | {len(rows)}))
    after = cumulative[ends - 1]
    before = np.append(0.0, after[:-1])
    return float(priced.charged(before, after, ends, np.ones(len(ends), dtype=bool)).sum())


def test_excess_against_a_loop() -> None:
    priced = honest()
    gain = ExcessGain(quantile=0.8, weight=3.0).fitted(priced)
    threshold = float(np.quantile(priced["cost_pate"], 0.8))
    over = [max(cost - threshold, 0.0) for cost in priced["cost_pate"]]
    expected = [3.0 * each / (sum(over) / len(over)) for each in over]
    assert gain.increments(priced, np.zeros(len(priced))) == pytest.approx(expected)
    assert gain.increments(priced, np.zeros(len(priced))).mean() == pytest.approx(3.0)


def test_coverage_against_a_loop() -> None:
    rows = pd.DataFrame({"bucket": [1, 1, 2, 1, 2, 0, 0, 1]})
    payer = np.array([0, 0, 0, 1, 1, 1, 0, 0])
    touched: set[tuple[int, int]] = set()
    expected = []
    for who, bucket in zip(payer, rows["bucket"], strict=True):
        expected.append(float((who, bucket) not in touched))
        touched.add((int(who), int(bucket)))
    assert CoverageGain(hyperplanes=2).increments(rows, payer).tolist() == expected


def test_an_honest_query_counts_its_weight() -> None:
    priced = honest()
    for gain in EACH.values():
        counted = gain.increments(priced, np.zeros(len(priced)))
        assert counted.mean() == pytest.approx(gain.weight)


def test_costs_that_are_all_equal_still_have_a_scale() -> None:
    equal = pd.DataFrame({"cost_pate": np.full(50, 0.25)})
    gain = ExcessGain().fitted(equal)
    assert gain.increments(equal, np.zeros(50)).tolist() == [0.0] * 50
    foreign = pd.DataFrame({"cost_pate": [0.5]})
    assert gain.increments(foreign, np.zeros(1)).tolist() == [1.0]


@pytest.mark.parametrize("gains", GAINS, ids="+".join)
@given(rows=queries)
def test_what_a_gate_adds_up_is_what_a_trace_does(gains: dict[str, Gain], rows: pd.DataFrame) -> None:
    total = Gains(gains)
    assert total.counted(total.revealed(rows).cumsum(0)) == pytest.approx(total.cumulative(rows))


@pytest.mark.parametrize("gains", GAINS, ids="+".join)
@given(rows=queries, cuts=st.lists(st.integers(1, 30)), strength=st.floats(0.1, 10), cap=st.floats(0.1, 1e4))
def test_no_cut_changes_a_bill(
    gains: dict[str, Gain], rows: pd.DataFrame, cuts: list[int], strength: float, cap: float
) -> None:
    priced = calibration(gains, strength=strength, cap=cap)
    assert bill(priced, rows, cuts) == pytest.approx(bill(priced, rows, []), rel=1e-9)


@pytest.mark.parametrize("gains", GAINS, ids="+".join)
@given(rows=queries, more=queries, places=st.lists(st.integers(0, 30), min_size=30, max_size=30))
def test_no_query_that_is_inserted_lowers_a_bill(
    gains: dict[str, Gain], rows: pd.DataFrame, more: pd.DataFrame, places: list[int]
) -> None:
    priced = calibration(gains)
    at = np.minimum(places[: len(more)], len(rows))
    order = np.argsort(np.concatenate([np.arange(len(rows)), at - 0.5]), kind="stable")
    together = pd.concat([rows, more], ignore_index=True).iloc[order]
    assert bill(priced, together, []) >= bill(priced, rows, []) * (1 - 1e-12)


@pytest.mark.parametrize("gains", [{"excess": EACH["excess"]}, {"volume": EACH["volume"]}], ids="+".join)
@given(rows=queries, at=st.integers(0, 30))
def test_accounts_that_part_ways_pay_no_more_than_one(
    gains: dict[str, Gain], rows: pd.DataFrame, at: int
) -> None:
    """T is convex, so each account's allowance is worth something: what an account's price is for."""
    priced = calibration(gains)
    parts = [part for part in (rows[:at], rows[at:]) if len(part)]
    assert sum(bill(priced, part, []) for part in parts) <= bill(priced, rows, []) * (1 + 1e-9)


def test_options_are_refused_by_name() -> None:
    for make, said in (
        (
            lambda: ExcessGain(quantile=1.0),
            r"excess\.quantile must be a number of at least 0 and below 1",
        ),
        (lambda: VolumeGain(weight=0.0), r"volume\.weight must be a number above 0"),
        (
            lambda: CoverageGain(hyperplanes=0),
            r"hyperplanes must be a whole number between 1 and 12",
        ),
        (lambda: ProgressiveCalibration(gains={}), "gains must name at least one gain"),
        (lambda: calibration(EACH, share=0.0), "share must be a number above 0"),
        (lambda: calibration(EACH, exponent=1.0), "exponent must be a number above 1"),
        (lambda: calibration(EACH, recovery_days=0.0), "recovery_days must be a number above 0 or null"),
    ):
        with pytest.raises(ValueError, match=said):
            make()
    with pytest.raises(ValueError, match="measure=pknn is not measured; choose one of pate"):
        ExcessGain(measure="pknn").fitted(honest())
    with pytest.raises(ValueError, match="needs the column `bucket`"):
        CoverageGain().fitted(pd.DataFrame({"cost_pate": [1.0]}))
