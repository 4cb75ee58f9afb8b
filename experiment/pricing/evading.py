"""A cell's curve as its attacker would have it: billed by the best response, beside the bill as recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from experiment.pricing.bills import Billing, add_bills
from experiment.pricing.curve import TraceAccounting
from pow.best_response import Evade, Pricelist, Response

COLUMNS = ("cheapest_pow_seconds", "cheapest_accounts", "cheapest_pads")
"""Columns of a curve that tell of the best response for stopping at that round."""


@dataclass(frozen=True, eq=False)
class Responses:
    """The responses of a cell's attacker.

    Args:
        evade: Its way of keeping the bill low; see Pricelist.respond.
        accounts: Accounts that asked, where evade is "none"; each is paid for.
        known: Responses found before, by number of queries.
    """

    evade: Evade
    accounts: int
    known: dict[tuple[int, Evade], Response] = field(default_factory=dict)

    def billed(
        self, curve: pd.DataFrame, trace: pd.DataFrame, billing: Billing | None, accounting: TraceAccounting
    ) -> pd.DataFrame:
        """Return the curve with COLUMNS, and with its own bill as `evade` says.

        Args:
            curve: The curve of build_curve.
            trace: The trace, as one account asked it.
            billing: The toll and the hardware; None without a toll.
            accounting: How costs add up.
        """
        if billing is None:
            return curve.assign(**dict.fromkeys(COLUMNS, 0.0))
        prices = _pricelist(billing, accounting)
        best = self._found(curve, trace, prices, "best")
        told = (("seconds", COLUMNS[0]), ("accounts", COLUMNS[1]), ("pads", COLUMNS[2]))
        curve = curve.assign(**{name: [getattr(each, what) for each in best] for what, name in told})
        if self.evade == "none":
            seconds = self.accounts * prices.account_seconds
            opening = Response(self.accounts, 0, seconds, prices.opening_hashes(self.accounts))
            return _billed(curve, billing, [opening] * len(curve))
        nothing = curve.assign(pow_seconds=0.0, expected_hashes=0.0)
        return _billed(nothing, billing, self._found(curve, trace, prices, self.evade))

    def _found(
        self, curve: pd.DataFrame, trace: pd.DataFrame, prices: Pricelist, way: Evade
    ) -> list[Response]:
        """The response for stopping at each round."""
        for queries in curve["queries"].tolist():
            if (queries, way) not in self.known:
                self.known[queries, way] = prices.respond(trace[:queries], way)
        return [self.known[queries, way] for queries in curve["queries"].tolist()]


def _pricelist(billing: Billing, accounting: TraceAccounting) -> Pricelist:
    toll = billing.toll
    cost = accounting.adding_up(toll.cost)
    return Pricelist(toll.calibration, toll.puzzle, cost, f"cost_{toll.cost}", toll.account_seconds)


def _billed(curve: pd.DataFrame, billing: Billing, responses: list[Response]) -> pd.DataFrame:
    """The curve with the responses' work added to its own, in all columns that follow from it."""
    work = curve["pow_seconds"] + np.array([each.seconds for each in responses])
    expected = curve["expected_hashes"] + np.array([each.expected_hashes for each in responses])
    curve = curve.assign(pow_seconds=work, expected_hashes=expected)
    curve["total_seconds"] = curve["query_seconds"] + work
    curve["overhead"] = curve["total_seconds"] / curve["query_seconds"]
    add_bills(curve, billing)
    return curve


def cheapest(curve: pd.DataFrame) -> Mapping[str, Any]:
    """The best response of the last round, for result.json."""
    return {name.removeprefix("cheapest_"): float(curve[name].iloc[-1]) for name in COLUMNS}
