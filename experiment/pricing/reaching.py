"""What a stolen model costs: the price to come as close to the victim as is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

SHARES = (80, 90, 95)
"""Per cent of the victim's accuracy, and of agreement with it, whose prices are told."""

BILL = ("queries", "pow_seconds", "attacker_solve_seconds", "attacker_kwh", "attacker_usd")
"""The bill's columns of a curve."""

BEST = ("cheapest_pow_seconds", "cheapest_usd")
"""The columns of what the best response would cost instead."""


def price_to_reach(curve: pd.DataFrame, victim_accuracy: float) -> dict[str, dict[str, Any]]:
    """Find the first round that is good enough, and its bill.

    Args:
        curve: The part of the curve that the attacker pays for.
        victim_accuracy: The victim's accuracy on the same test images.

    Returns:
        By `accuracy` (over the victim's) and `fidelity`, for each of SHARES: whether it was `reached`, and
        the bill of the first round that did; where none did, the whole bill, which then is a lower bound.
    """
    aims = {"accuracy": victim_accuracy, "fidelity": 1.0}
    return {
        name: {str(share): _first(curve, curve[name] >= share / 100 * full) for share in SHARES}
        for name, full in aims.items()
    }


def _first(curve: pd.DataFrame, good_enough: pd.Series[bool]) -> Mapping[str, Any]:
    reached = bool(good_enough.any())
    row = curve.iloc[int(good_enough.to_numpy().argmax()) if reached else -1]
    figures = {name: float(row[name]) for name in (*BILL, *BEST)}
    return {"reached": reached, "round": int(row["round"])} | figures
