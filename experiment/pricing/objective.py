"""What a run returns to a sweeper that searches: one figure of its result, by option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiment.pricing.reaching import BEST, BILL, SHARES
from storage.errors import InputError
from storage.typed import Positive, check_value

FINAL = (
    *("accuracy", "fidelity", "queries", "total_seconds", "overhead", "expected_hashes"),
    *("attacker_solve_seconds", "attacker_kwh", "attacker_usd", "cheapest_overhead", "cheapest_usd"),
    *("honest_overhead", "honest_solve_seconds", "honest_kwh", "honest_usd"),
)
"""Figures of the curve's end."""

TO_REACH = {f"{name}_at_{share}": (name, str(share)) for name in (*BILL, *BEST) for share in SHARES}
"""What it takes to come to a share of the victim's accuracy; where no round does, the whole bill."""

FIGURES = (*FINAL, *TO_REACH)


def check_objective(config: Mapping[str, Any]) -> None:
    """Raise InputError naming the option where `objective` or `objective_below` cannot be meant."""
    if config["objective"] not in (None, *FIGURES):
        raise InputError(
            f"objective must be null or one of {', '.join(FIGURES)}, not {config['objective']!r}"
        )
    if config["objective_below"] is not None:
        if config["objective"] is None:
            raise InputError("objective_below is for a run with an objective, such as honest_overhead")
        try:
            check_value("objective_below", config["objective_below"], Positive | None)
        except ValueError as error:
            raise InputError(str(error)) from error


def figure_of(name: str, result: Mapping[str, Any]) -> float:
    """One of FIGURES of a result."""
    column, share = TO_REACH.get(name, (name, None))
    bill = result["final"] if share is None else result["price_to_reach"]["accuracy"][share]
    return float(bill[column])


def objective_of(config: Mapping[str, Any], result: Mapping[str, Any]) -> float | None:
    """The figure that `objective` names, None where it names none.

    With `objective_below` it is how far the figure stays below that, and the figure itself where it does not:
    the least is then of the cell that comes closest from below, if any stays below.

    Args:
        config: of the cell.
        result: the content of its result.json.
    """
    name, below = config["objective"], config["objective_below"]
    if name is None:
        return None
    figure = figure_of(name, result)
    if below is None:
        return figure
    return below - figure if figure < below else figure
