"""The figures that runs are plotted by: axes of a curve, and a result's as flat values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MEASURE = "pate"
"""The measure whose axis is called privacy_cost; those of others are called as their columns."""

VALUES = ("accuracy", "fidelity", "overhead")


def axes_of(measures: Iterable[str]) -> dict[str, str]:
    """The name of each x axis, and the curve's column on it, for cells with these privacy measures."""
    columns = {"privacy_cost" if name == MEASURE else f"cost_{name}": f"cost_{name}" for name in measures}
    return {"queries": "queries", **columns, "seconds": "total_seconds", "money": "attacker_usd"}


def metric(dataset: str, axis: str, value: str) -> str:
    """A metric's name on an axis: that of the data set comes first, so that panels are grouped by it."""
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', dataset)}/by_{axis}/{value}"


def summary_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """All that a result says of a finished cell, as flat figures."""
    return {
        **{f"final/{name}": value for name, value in result["final"].items()},
        **{name: result.get(name) for name in ("victim_accuracy", "gave_up", "keys")},
        **{f"honest_loss/{name}": value for name, value in (result.get("honest") or {}).items()},
        **{f"transferability/{name}": it for name, it in (result.get("transferability") or {}).items()},
        **_alarm(result),
        **price_summary(result),
    }


def _alarm(result: Mapping[str, Any]) -> dict[str, Any]:
    """Whether an attacker who is watched raised an alarm, and after how many queries."""
    if (result.get("honest") or {}).get("false_alarms") is None:
        return {}
    queries = result.get("queries_until_alarm")
    return {"alarm/raised": queries is not None, "alarm/queries": queries}


def price_summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a stolen model costs, as flat figures to plot runs by.

    `price/accuracy_90/...` is the bill of the first round that reaches 90 % of the victim's accuracy, with
    `reached`; where that is false it is a lower bound. `price_over_honest/...` is its work over that of the
    honest 95 % quantile. `cheapest/...` is the best response of the last round.
    """
    honest = result.get("honest_bill") or {}
    figures = {
        f"honest/{name}_{quantile}": value
        for name, quantiles in honest.items()
        for quantile, value in quantiles.items()
    }
    figures |= {f"cheapest/{name}": value for name, value in (result.get("cheapest") or {}).items()}
    q95 = figures.get("honest/pow_seconds_q95")
    for what, shares in (result.get("price_to_reach") or {}).items():
        for share, bill in shares.items():
            figures |= {f"price/{what}_{share}/{name}": value for name, value in bill.items()}
            if q95:
                figures[f"price_over_honest/{what}_{share}"] = bill["pow_seconds"] / q95
    return figures
