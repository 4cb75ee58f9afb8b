"""The best response to a toll, against plain loops over small traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pow.calibration import Calibration, LinearExpectation, LineCalibration
from pow.calibration.constant import ConstantCalibration
from pow.calibration.linear import LinearCalibration
from pow.calibration.paper import PaperCalibration
from pow.calibration.progressive import ProgressiveCalibration
from pow.evasion import best_response
from pow.evasion.asking import ACCOUNTS, MOST_PADS, Pricelist, cheapest_row
from pow.evasion.best_response import Evade, best_responses
from pow.gains import Gain
from pow.gains.coverage import CoverageGain
from pow.gains.excess import ExcessGain
from pow.gains.volume import VolumeGain
from pow.puzzles import PuzzleSettings, Sha256Puzzle
from pow.requests import Scope, charge
from pow.traces import by_payer

SHA256 = PuzzleSettings(Sha256Puzzle)
OWN = 0.01
FEW_PADS = (1, 3)
LINE = LinearExpectation(0.5, 1.0)
GAINS: dict[str, Gain] = {
    "excess": ExcessGain(threshold=0.6),
    "volume": VolumeGain(),
    "coverage": CoverageGain(hyperplanes=3),
}
LINES = [
    PaperCalibration(LINE, base=1.5, floor=0.01, request_size=10),
    PaperCalibration(LINE, base=1.5, floor=0.01, request_size=10, sided="one"),
    LinearCalibration(LINE, slope=1.0, request_size=10, floor=0.01),
    ConstantCalibration(LINE, each=0.3, request_size=10),
]
PROGRESSIVE = ProgressiveCalibration(
    GAINS, allowance=5.0, steepness=2.0, request_size=10, request_seconds=1.0
)


def cost(rows: pd.DataFrame) -> np.ndarray:
    return rows["cost_pate"].to_numpy().cumsum()


def trace(queries: int = 30, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "round": np.repeat([1, 2, 3], queries // 3),
            "account": random.integers(0, 2, queries),
            "cost_pate": random.uniform(0.3, 1.5, queries),
            "bucket": random.integers(0, 8, queries),
        }
    )


def prices(calibration: Calibration, **options: object) -> Pricelist:
    standard: dict[str, object] = {"account_seconds": 0.5}
    return Pricelist(calibration, SHA256, cost, "cost_pate", OWN, **(standard | options))  # type: ignore[arg-type]


def priced(
    calibration: Calibration, asked: pd.DataFrame, account: Sequence[int], scope: Scope | None = None
) -> tuple[float, float]:
    """Seconds and hashes of the work, by the rule that bills traces."""
    accounts = np.array(account)
    payer = (scope or Scope()).payer(accounts)
    total = by_payer(calibration.charged_total(cost), asked, payer)
    bill = charge(calibration, SHA256, accounts, asked["round"].to_numpy(), total, payer)
    return float(bill["seconds"].sum()), float(bill["expected_hashes"].sum())


def with_pads(
    rows: pd.DataFrame, account: Sequence[int], pads: Sequence[int], pad: pd.DataFrame
) -> tuple[pd.DataFrame, list[int]]:
    """The queries with pads before each, one by one."""
    order, accounts, rounds = [], [], []
    for number, before in enumerate(pads):
        order += [len(rows)] * before + [number]
        accounts += [account[number]] * (before + 1)
        rounds += [rows["round"].iloc[number]] * (before + 1)
    asked = pd.concat([rows, pad], ignore_index=True).iloc[order].reset_index(drop=True)
    return asked.assign(round=rounds), accounts


def to_the_line(
    rows: pd.DataFrame, account: Sequence[int], pad: float, line: LinearExpectation, most: int
) -> list[int]:
    """Pads before each query: one more, and one more, until the account lies on the line or below."""
    spent: dict[int, float] = {}
    asked: dict[int, int] = {}
    held: dict[int, int] = {}
    real: dict[int, int] = {}
    found = []
    for who, each in zip(account, rows["cost_pate"], strict=True):
        real[who] = real.get(who, 0) + 1
        spent[who], asked[who] = spent.get(who, 0.0) + each, asked.get(who, 0) + 1
        before = held.get(who, 0)
        while (
            spent[who] > line.slope * asked[who] + line.intercept + 1e-9
            and held.get(who, 0) < most * real[who]
        ):
            spent[who], asked[who], held[who] = spent[who] + pad, asked[who] + 1, held.get(who, 0) + 1
        found.append(held.get(who, 0) - before)
    return found


def brute_force(
    calibration: Calibration, rows: pd.DataFrame, pad: pd.DataFrame, evade: Evade, scope: Scope
) -> float:
    """The least total over all that is tried, one by one; an account costs half a second."""
    line = isinstance(calibration, LineCalibration)
    recorded = rows["account"].tolist()
    ways = [(recorded, [0] * len(rows), calibration.request_size)]
    sizes = {calibration.request_size} | ({1, 16, 64} if evade == "best" and line else set())
    for number in [n for n in ACCOUNTS if n <= len(rows)] if evade in ("split", "best") else [1]:
        account = [i % number for i in range(len(rows))]
        paddings = [[0] * len(rows)] if evade in ("split", "best") else []
        if line and evade in ("pad", "best"):
            paddings += [[pads] * len(rows) for pads in FEW_PADS]
            paddings.append(to_the_line(rows, account, pad["cost_pate"].item(), LINE, MOST_PADS))
        ways += [(account, pads, size) for pads in paddings for size in sizes] if evade != "none" else []
    totals = []
    for account, pads, size in ways:
        asked, accounts = with_pads(rows, account, pads, pad)
        work, _ = priced(replace(calibration, request_size=size), asked, accounts, scope)
        totals.append(work + len(set(account)) * 0.5 + OWN * sum(pads))
    return min(totals)


@pytest.mark.parametrize("evade", ["none", "pad", "split", "best"])
@pytest.mark.parametrize("calibration", [*LINES, PROGRESSIVE], ids=lambda each: each.name)
def test_against_brute_force(calibration: Calibration, evade: Evade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_response, "CONSTANT_PADS", FEW_PADS)
    rows, ends = trace(12), [4, 12]
    scope, pad = Scope("subnet", 3) if evade == "split" else Scope(), cheapest_row("cost_pate", rows)
    found = best_responses(rows, ends, prices(calibration, scope=scope), evade)
    for end, response in zip(ends, found, strict=True):
        expected = brute_force(calibration, rows[:end], pad, evade, scope)
        assert response.seconds + OWN * response.pads == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("calibration", [*LINES, PROGRESSIVE], ids=lambda each: each.name)
def test_a_response_costs_what_it_says(calibration: Calibration) -> None:
    """Asked as the response says, the queries cost that many seconds and hashes."""
    rows = trace(60, seed=3)
    found = best_responses(rows, [60], prices(calibration))[0]
    account = (
        [i % found.accounts for i in range(60)] if found.strategy != "none" else rows["account"].tolist()
    )
    pad = cheapest_row("cost_pate", rows)
    pads = [found.pads // 60] * 60
    if "line" in found.strategy:
        pads = to_the_line(rows, account, pad["cost_pate"].item(), LINE, MOST_PADS)
    assert sum(pads) == found.pads
    asked, accounts = with_pads(rows, account, pads, pad)
    seconds, hashes = priced(replace(calibration, request_size=found.request_size), asked, accounts)
    price = calibration.expected_hashes(np.array([0.5]))[0]
    assert found.seconds == pytest.approx(seconds + 0.5 * found.accounts, rel=1e-9)
    assert found.expected_hashes == pytest.approx(hashes + price * found.accounts, rel=1e-9)


def test_costs_that_do_not_add_up_plainly_are_summed_account_by_account() -> None:
    rows = trace()
    ways = [
        best_responses(rows, [10, 20, 30], prices(LINES[0], adds_up=adds_up)) for adds_up in (True, False)
    ]
    for quick, slow in zip(*ways, strict=True):
        assert (quick.strategy, quick.accounts, quick.pads) == (slow.strategy, slow.accounts, slow.pads)
        assert quick.seconds == pytest.approx(slow.seconds)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([*LINES, PROGRESSIVE, replace(PROGRESSIVE, recovery_days=2.0)]),
    st.sampled_from([0.0, 0.3, 5.0]),
    st.sampled_from(["pad", "split", "best"]),
)
def test_a_response_is_never_dearer_than_none(
    seed: int, calibration: Calibration, price: float, evade: Evade
) -> None:
    rows, charged = trace(18, seed), prices(calibration, account_seconds=price, patience_days=1.0)
    ends = [6, 18]
    for response, none in zip(
        best_responses(rows, ends, charged, evade), best_responses(rows, ends, charged, "none"), strict=True
    ):
        assert none.strategy == "none" and none.pads == 0
        assert response.seconds <= none.seconds * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*GAINS, "all"]),
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(0, 20), st.floats(0, 3), st.integers(0, 7)), max_size=10),
    st.lists(st.integers(0, 19), max_size=6),
    st.sampled_from([1e-3, 1.0, 3600.0]),
)
def test_under_progressive_no_query_that_is_added_lowers_a_bill_and_no_cut_changes_it(
    name: str, seed: int, added: list[tuple[int, float, int]], cuts: list[int], cap: float
) -> None:
    gains = GAINS if name == "all" else {name: GAINS[name]}
    calibration = replace(PROGRESSIVE, gains=gains, cap=cap)
    rows = trace(21, seed).assign(account=0)
    whole, _ = priced(calibration, rows.assign(round=0), [0] * 21)
    cut = rows.assign(round=np.searchsorted(np.sort(cuts), np.arange(21), side="right"))
    for size in (1, 7, 64):
        assert priced(replace(calibration, request_size=size), cut, [0] * 21)[0] == pytest.approx(whole)
    padded = rows.assign(place=np.arange(21.0), round=0)
    for place, cost_pate, bucket in added:
        more = {"round": 0, "account": 0, "place": place - 0.5, "cost_pate": cost_pate, "bucket": bucket}
        padded = pd.concat([padded, pd.DataFrame([more])], ignore_index=True)
    padded = padded.sort_values("place", kind="stable").reset_index(drop=True)
    assert priced(calibration, padded, [0] * len(padded))[0] >= whole * (1 - 1e-9)


@pytest.mark.parametrize("name", GAINS)
def test_under_progressive_no_one_pads_or_cuts(name: str) -> None:
    rows, charged = trace(60), prices(replace(PROGRESSIVE, gains={name: GAINS[name]}))
    assert best_responses(rows, [60], charged, "pad") == best_responses(rows, [60], charged, "none")
    best, split = (best_responses(rows, [60], charged, evade)[0] for evade in ("best", "split"))
    assert best == split and best.pads == 0 and best.request_size == 10


@pytest.mark.parametrize("price_of_one", [1, 4, 25, 400, 7])
def test_where_the_toll_is_quadratic_accounts_make_the_bill_linear(price_of_one: int) -> None:
    """T = c n^2: k accounts pay c n^2 / k + k A, least at k = n sqrt(c / A), where it is 2 n sqrt(c A)."""
    queries = 2000
    quadratic = ProgressiveCalibration(
        {"volume": VolumeGain()},
        request_seconds=64.0,
        share=1e-9,
        allowance=1e-6,
        steepness=1e-6 * 1e-2,
        cap=1e12,
    )
    c = 1e-2
    rows = pd.DataFrame({"round": np.zeros(queries, dtype=int), "account": 0, "cost_pate": 1.0})
    assert quadratic.potential(np.array([queries]))[0] == pytest.approx(c * queries**2, rel=1e-4)
    best_number = {1: 200, 4: 100, 25: 40, 400: 10, 7: 76}[price_of_one]
    found = best_responses(rows, [queries], prices(quadratic, account_seconds=price_of_one))[0]
    exact = 2 * queries * np.sqrt(c * price_of_one)
    if best_number in ACCOUNTS:
        assert found.accounts == best_number and found.seconds == pytest.approx(exact, rel=1e-3)
    assert exact * (1 - 1e-3) <= found.seconds <= 1.11 * exact


def waiting(
    calibration: ProgressiveCalibration, rows: pd.DataFrame, account: list[int], waits: Sequence[float]
) -> float:
    """Work of accounts that wait so many days after each query, query by query."""
    work, level = 0.0, dict.fromkeys(account, 0.0)
    gains = calibration.total.increments(rows, np.array(account))
    for who, gain, days in zip(account, gains, waits, strict=True):
        before, after = calibration.potential(np.array([level[who], level[who] + gain]))
        work += after - before
        level[who] = calibration.recovered(level[who] + gain, days * 86400)
    return work


def as_early_as_it_can(
    calibration: ProgressiveCalibration, rows: pd.DataFrame, account: list[int], days: float
) -> list[float]:
    """Days that accounts wait after each query, until nothing is left to forgive or their days are over."""
    assert calibration.recovery_days is not None
    left, waits = dict.fromkeys(account, days), []
    for who, gain in zip(account, calibration.total.increments(rows, np.array(account)), strict=True):
        waits.append(min(left[who], gain * calibration.recovery_days / calibration.allowance))
        left[who] -= waits[-1]
    return waits


@pytest.mark.parametrize("days", [0.5, 3.0, 100.0])
def test_who_waits_against_a_loop(days: float) -> None:
    """Nobody who waits as long pays less, however the days are spread over the queries."""
    rows, ends = trace(30, seed=5), [10, 20, 30]
    calibration = replace(PROGRESSIVE, recovery_days=2.0)
    charged = prices(calibration, patience_days=days, account_seconds=1.0)
    for end, found in zip(ends, best_responses(rows, ends, charged), strict=True):
        dealt = [[i % number for i in range(end)] for number in ACCOUNTS if number <= end]
        least = min(
            waiting(
                calibration, rows[:end], account, as_early_as_it_can(calibration, rows[:end], account, days)
            )
            + len(set(account))
            for account in dealt
        )
        assert found.seconds == pytest.approx(least) and found.strategy.endswith("wait")
        random = np.random.default_rng(end)
        for account in dealt:
            for _ in range(20):
                waits = np.zeros(end)
                for who in set(account):
                    own = np.flatnonzero(np.array(account) == who)
                    waits[own] = days * random.dirichlet(np.full(len(own), random.choice([0.1, 1.0, 100.0])))
                other = waiting(calibration, rows[:end], account, waits.tolist()) + len(set(account))
                assert found.seconds <= other * (1 + 1e-9)
    patient = best_responses(rows, ends, charged, "split")
    impatient = best_responses(rows, ends, prices(calibration, account_seconds=1.0), "split")
    assert patient == impatient


def test_an_alarm_that_raises_the_toll_leaves_what_was_recorded() -> None:
    rows = trace()
    factor = np.where(np.arange(30) >= 15, 3.0, 1.0)
    found = best_responses(rows, [10, 30], prices(LINES[0]), factor=factor)
    assert found[1].strategy == "none"
    plain = best_responses(rows, [10, 30], prices(LINES[0]), "none")
    assert found[0].seconds == plain[0].seconds and found[1].seconds > plain[1].seconds


def test_costs_without_a_figure_are_not_priced() -> None:
    with pytest.raises(ValueError, match="NaN"):
        best_responses(trace().assign(cost_pate=np.nan), [30], prices(LINES[0]), "none")


def test_accounts_are_one_a_query_at_most() -> None:
    found = best_responses(trace(), [3, 10, 20, 30], prices(PROGRESSIVE, account_seconds=1e-9), "split")
    assert all(each.accounts <= end for each, end in zip(found, [3, 10, 20, 30], strict=True))
    assert found[-1].accounts >= 10
