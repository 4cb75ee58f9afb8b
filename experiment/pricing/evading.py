"""How a cell's attacker answers the toll, and the least that it could pay for what it asked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from experiment.pricing.bills import Billing
from pow.evasion.asking import Pricelist, cheapest_row
from pow.evasion.best_response import Evade, Response, best_responses

CHEAPEST = {"seconds": "cheapest_pow_seconds", "accounts": "cheapest_accounts", "pads": "cheapest_pads"}
"""Columns of a curve that tell of the best response for stopping at that round, by its attribute."""


@dataclass(frozen=True, eq=False)
class Responses:
    """The responses at each row of a curve: the attacker's own, None where it asks as recorded, and the best.

    `own_seconds` are those of a query without work.
    """

    chosen: list[Response] | None
    best: list[Response]
    own_seconds: float


def responses(trace: pd.DataFrame, ends: np.ndarray, billing: Billing, prices: Pricelist) -> Responses:
    """The responses of an attacker who may stop after `ends` `[rounds]` queries of a cell's trace."""
    best = _answered(trace, ends, billing, prices, "best")
    chosen = None
    if billing.evade == "best":
        chosen = best
    elif billing.evade != "none":
        chosen = _answered(trace, ends, billing, prices, billing.evade)
    return Responses(chosen, best, prices.own_seconds)


def _answered(
    trace: pd.DataFrame, ends: np.ndarray, billing: Billing, prices: Pricelist, evade: Evade
) -> list[Response]:
    patience = billing.patience_days if evade == "best" else 0.0
    tables = [trace] if billing.at_hand is None else [trace, billing.at_hand]
    pad = cheapest_row(prices.column, *tables)
    factor = billing.factor(trace)
    return best_responses(trace, ends, replace(prices, patience_days=patience), evade, pad, factor)


def add_chosen(curve: pd.DataFrame, found: Responses | None) -> None:
    """Puts the attacker's own response in the place of the work that was recorded; pads take time too."""
    if found is None or found.chosen is None:
        return
    chosen = pd.DataFrame([asdict(response) for response in found.chosen])
    curve["pow_seconds"] = chosen["seconds"].to_numpy()
    curve["expected_hashes"] = chosen["expected_hashes"].to_numpy()
    padding = chosen["pads"].to_numpy() * found.own_seconds
    curve["total_seconds"] = curve["query_seconds"] + curve["pow_seconds"] + padding
    curve["overhead"] = curve["total_seconds"] / curve["query_seconds"]


def add_cheapest(curve: pd.DataFrame, found: Responses | None, billing: Billing | None) -> None:
    """Adds what the best response for stopping at each round costs; zeros without a toll."""
    for attribute, name in CHEAPEST.items():
        curve[name] = [float(getattr(each, attribute)) for each in found.best] if found else 0.0
    own = found.own_seconds if found else 0.0
    taken = curve["cheapest_pow_seconds"] + own * curve["cheapest_pads"]
    curve["cheapest_overhead"] = 1 + taken / curve["query_seconds"]
    curve["cheapest_usd"] = _usd(found.best, billing) if found and billing else 0.0


def _usd(best: list[Response], billing: Billing) -> np.ndarray:
    hashes = np.array([response.expected_hashes for response in best])
    return billing.attacker.bill(hashes, billing.toll.puzzle).usd


def cheapest(trace: pd.DataFrame, queries: int, billing: Billing, prices: Pricelist) -> dict[str, Any]:
    """For a cell's result: the best response of an attacker who stops after so many queries."""
    if not queries:
        names = ("accounts", "pads", "request_size", "pow_seconds", "usd")
        return {"strategy": "none"} | dict.fromkeys(names, 0)
    response = _answered(trace, np.array([queries]), billing, prices, "best")[0]
    return {
        "strategy": response.strategy,
        "accounts": response.accounts,
        "pads": response.pads,
        "request_size": response.request_size,
        "pow_seconds": response.seconds,
        "usd": float(_usd([response], billing)[0]),
    }
