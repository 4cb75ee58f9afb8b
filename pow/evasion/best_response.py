"""The best response to a toll: the least that an attacker pays for answers to the same queries.

Padding is tried where a line calibration can be steered by it: as many pads before each query as hold
the account's cumulative cost at or below the line, or the same number before each. With real costs C_i
after i of an account's queries, a pad's cost c and the line a q + b, the first takes

    max over j <= i of ceil((C_j - a j - b) / (a - c))

pads before query i, at most 50 a query, which needs c < a. Under the progressive calibration a pad
can only add, and the cut changes nothing, so neither is tried there.

Accounts get the queries by turns. In `patience_days` d, where an allowance G0 refills in r days, one is
forgiven at most F = G0 d / r. A query is the cheaper the lower the level that it is asked at, since T is
convex, so an account waits as early as it can: after each query until its level is 0, while its patience
lasts, and never afterwards. Its level before query i + 1 is

    L_(i+1) = max(0, g_1 + ... + g_i - F),

with g_i the gain of query i, which is charged T(L_i + g_i) - T(L_i). No level can be lower, so no other way
to wait is cheaper.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pow.calibration import Calibration, LineCalibration
from pow.calibration.progressive import ProgressiveCalibration
from pow.evasion.asking import Asked, Bills, Layout, Pricelist, counted_by, shifted_by

Evade = Literal["none", "pad", "split", "best"]
"""What an attacker tries: nothing, padding, many accounts, or everything."""

REQUEST_SIZES = (1, 16, 64)
"""Sizes of requests that are tried besides the calibration's own."""

CONSTANT_PADS = (1, 2, 3, 5, 10, 20, 50)
"""Pads before each query that are tried."""

BETTER = 1 - 1e-9
"""A response must be that much cheaper to be preferred to a simpler one."""


@dataclass(frozen=True)
class Response:
    """How an attacker asks, and what it pays.

    Attributes:
        strategy: `none`, or what is done, joined by +: line (pads to the line), pad (so many before each
            query), split (over accounts), cut (into other requests), wait (for the allowance to refill).
        accounts: Accounts that ask.
        pads: Queries that are sent only to lower the bill, all together.
        request_size: Most queries in a request.
        seconds: Work in seconds of the reference client, the price of the accounts included.
        expected_hashes: The same in expected hashes.
    """

    strategy: str
    accounts: int
    pads: int
    request_size: int
    seconds: float
    expected_hashes: float


def best_responses(
    rows: pd.DataFrame,
    ends: Sequence[int] | np.ndarray,
    prices: Pricelist,
    evade: Evade = "best",
    pad: pd.DataFrame | None = None,
    factor: np.ndarray | None = None,
) -> list[Response]:
    """Return the attacker's cheapest way to ask the first `ends[j]` queries of a trace, for each j.

    What is least is the work with the price of the accounts and the own time of the pads, in seconds. What
    was recorded, with its accounts and the calibration's requests, is always among what is compared. The
    module says what is tried.

    Args:
        rows: Rows of a trace in the order asked, with round and account.
        ends: Numbers of queries after which the attacker may stop, rising, each the end of a round.
        prices: What it is charged by.
        evade: What it tries.
        pad: The image that it pads with, a table of one row; None: the cheapest of the trace.
        factor: What multiplies the toll of each query, float64 `[n]`. Where it is not 1, an alarm raised
            it, and nobody knows which accounts would raise one: then only what was recorded is priced.

    Raises:
        ValueError: A cost is NaN.
    """
    asked = Asked(rows[: int(ends[-1])], np.asarray(ends), prices, pad, factor)
    least = _Least(asked.ends, prices)
    for bills in _tried(asked, evade, least):
        least.take(bills)
    return least.responses(asked)


class _Least:
    """The cheapest bills so far at each end."""

    def __init__(self, ends: np.ndarray, prices: Pricelist) -> None:
        self.prices = prices
        self.total = np.full(len(ends), np.inf)
        self.found: list[tuple[Bills, int] | None] = [None] * len(ends)

    def take(self, bills: Bills) -> None:
        """Note where these bills are lower."""
        total = bills.seconds + bills.pads * self.prices.own_seconds
        better = total < self.total * BETTER
        self.total = np.where(better, total, self.total)
        for number in np.flatnonzero(better):
            self.found[number] = (bills, int(number))

    def responses(self, asked: Asked) -> list[Response]:
        """The cheapest of all that were tried, at each end."""
        missing: dict[int, np.ndarray] = {}
        return [_response(asked, *found, missing) for found in self.found if found is not None]


def _response(asked: Asked, bills: Bills, number: int, computed: dict[int, np.ndarray]) -> Response:
    hashes = bills.hashes
    if hashes is None:
        accounts = int(bills.accounts.max())
        if accounts not in computed:
            computed[accounts] = _hashes(Layout(asked, accounts).bills("", bills.size))
        hashes = computed[accounts]
    return Response(
        strategy=bills.strategy,
        accounts=int(bills.accounts[number]),
        pads=int(bills.pads[number]),
        request_size=bills.size,
        seconds=float(bills.seconds[number]),
        expected_hashes=float(hashes[number]),
    )


def _hashes(bills: Bills) -> np.ndarray:
    assert bills.hashes is not None
    return bills.hashes


def _tried(asked: Asked, evade: Evade, least: _Least) -> Iterator[Bills]:
    """The bills of all that is tried, simple ways first."""
    calibration = asked.prices.calibration
    yield Layout(asked, None).bills("none", calibration.request_size)
    if evade == "none" or asked.raised:
        return
    if isinstance(calibration, ProgressiveCalibration):
        yield from _progressive(asked, calibration, evade)
        return
    numbers = (1,) if evade == "pad" else asked.numbers()
    sizes = _sizes(calibration, evade)
    if evade != "pad":
        for number in numbers:
            layout = Layout(asked, number)
            yield from (layout.bills(_named("", number, size, calibration), size) for size in sizes)
    if evade != "split" and isinstance(calibration, LineCalibration):
        for number in numbers:
            yield from _padded(asked, calibration, number, sizes, least)


def _sizes(calibration: Calibration, evade: Evade) -> tuple[int, ...]:
    own = calibration.request_size
    return tuple(sorted({own, *REQUEST_SIZES}, reverse=True)) if evade == "best" else (own,)


def _named(pads: str, accounts: int, size: int | None, calibration: Calibration, wait: bool = False) -> str:
    cut = size is not None and size != calibration.request_size
    parts = [pads, "split" * (accounts > 1), "cut" * cut, "wait" * wait]
    return "+".join(filter(None, parts)) or "none"


def _padded(
    asked: Asked, calibration: LineCalibration, accounts: int, sizes: Sequence[int], least: _Least
) -> Iterator[Bills]:
    """The bills with pads, but for those that would be dearer at any deviation."""
    cheapest = float(calibration.bounded(calibration.schedule(np.zeros(1)))[0])
    constant = (
        ("pad", np.full(len(asked.rows), pads)) for pads in CONSTANT_PADS if pads <= asked.prices.most_pads
    )
    for name, pads in (*_to_the_line(asked, calibration, accounts), *constant):
        sent = pads.cumsum()[asked.ends - 1]
        requests = (asked.ends + sent) / max(sizes)
        bound = sent * asked.prices.own_seconds + requests * cheapest
        bound += np.minimum(accounts, asked.ends) * asked.prices.account_seconds
        if (bound >= least.total).all():
            continue
        layout = Layout(asked, accounts, pads)
        yield from (layout.bills(_named(name, accounts, size, calibration), size) for size in sizes)


def _to_the_line(
    asked: Asked, calibration: LineCalibration, accounts: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Pads before each query, int `[n]`, that hold the cost at or below the line; see best_responses."""
    rise = calibration.expected.slope - asked.pad_cost
    if rise <= 0:
        return
    layout = Layout(asked, accounts)
    queries = counted_by(layout.payer)
    above = (layout.levels[1] - calibration.expected(queries)) / rise
    needed = pd.Series(np.ceil(np.maximum(above - 1e-9, 0))).groupby(layout.payer).cummax().to_numpy()
    sent = np.minimum(needed, asked.prices.most_pads * queries)
    yield "line", (sent - shifted_by(sent, layout.payer)).astype(np.int64)


def _progressive(asked: Asked, calibration: ProgressiveCalibration, evade: Evade) -> Iterator[Bills]:
    """The bills of accounts that share the gain, and of those that wait besides."""
    if evade == "pad":
        return
    for number in asked.numbers():
        seconds = _potentials(asked, calibration, number)
        accounts = np.minimum(number, asked.ends)
        seconds += accounts * asked.prices.account_seconds
        name, size = _named("", number, None, calibration), calibration.request_size
        yield Bills(name, size, seconds, None, accounts, np.zeros_like(accounts))
    if evade == "best" and asked.prices.forgiven > 0:
        for number in asked.numbers():
            name = _named("", number, None, calibration, wait=True)
            yield Layout(asked, number).bills(name, calibration.request_size, wait=True)


def _potentials(asked: Asked, calibration: ProgressiveCalibration, accounts: int) -> np.ndarray:
    """The sum of the potentials of all payers at each end, float64 `[ends]`."""
    payer = asked.prices.scope.payer(asked.dealt(accounts))
    gained = calibration.total.increments(asked.rows, payer)
    payers, ends = int(payer.max()) + 1, len(asked.ends)
    by_end = np.bincount(asked.segment * payers + payer, gained, minlength=ends * payers)
    total: np.ndarray = calibration.potential(by_end.reshape(ends, payers).cumsum(axis=0)).sum(axis=1)
    return total
