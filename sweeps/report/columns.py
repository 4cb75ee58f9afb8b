"""The columns of reports: how each is called and written, and on which scale seeds are averaged."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A figure of cells and curves.

    Args:
        heading: Its name in tables.
        factor: What figures are multiplied by before they are written.
        format: As Python's format() has it.
        is_multiple: Whether it is a ratio, a time or a price, which seeds change by a factor: its mean is
            geometric, and its interval is computed on the log scale. Other figures are averaged as they are.
        reached: Column that is 0 where this figure is only a lower bound; None where it never is.
    """

    heading: str
    factor: int = 1
    format: str = ".4g"
    is_multiple: bool = False
    reached: str | None = None


def _multiple(heading: str, form: str = ".4g", reached: str | None = None) -> Column:
    return Column(heading, 1, form, True, reached)


OTHER_GOALS = {
    "80": ("accuracy", "80", "80 %"),
    "95": ("accuracy", "95", "95 %"),
    "fidelity_80": ("fidelity", "80", "80 % fidelity"),
    "fidelity_90": ("fidelity", "90", "90 % fidelity"),
    "fidelity_95": ("fidelity", "95", "95 % fidelity"),
}
"""What else of the victim an attacker may want, by the end of the columns' names: figure, share, in words."""

COLUMNS = {
    "queries": Column("queries", 1, ",.0f"),
    "accuracy": Column("accuracy %", 100, ".2f"),
    "fidelity": Column("fidelity %", 100, ".2f"),
    "accuracy_change": Column("against none, points", 100, "+.2f"),
    "kl": Column("KL", 1, ".3g"),
    "transfer": Column("transfer %", 100, ".1f"),
    "query_seconds": Column("seconds"),
    "total_seconds": _multiple("with work"),
    "overhead": _multiple("overhead"),
    "cheapest_pow_seconds": _multiple("cheapest, s"),
    "cheapest_overhead": _multiple("at best"),
    "honest_overhead": _multiple("honest's"),
    "honest_accuracy": Column("honest's accuracy %", 100, ".2f"),
    "honest_l1": Column("honest's L1", 1, ".3g"),
    "honest_calibration_error": Column("honest's ECE %", 100, ".2f"),
    "honest_refused": Column("refused %", 100, ".1f"),
    "honest_false_alarms": Column("false alarms %", 100, ".1f"),
    "alarm": Column("alarms %", 100, ".0f"),
    "queries_until_alarm": Column("at query", 1, ",.0f"),
    "reached_90": Column("came to 90 %, %", 100, ".0f"),
    "queries_to_90": _multiple("queries to 90 %", ",.0f", "reached_90"),
    "seconds_to_90": _multiple("price of 90 %, s", ".4g", "reached_90"),
    "usd_to_90": _multiple("price of 90 %, USD", ".2g", "reached_90"),
    **{
        f"seconds_to_{goal}": _multiple(f"price of {words}, s", ".4g", f"reached_{goal}")
        for goal, (_, _, words) in OTHER_GOALS.items()
    },
    **{
        f"reached_{goal}": Column(f"came to {words}, %", 100, ".0f")
        for goal, (_, _, words) in OTHER_GOALS.items()
    },
    "honest_q95": _multiple("honest q95, s"),
    "price_over_honest": _multiple("price / honest q95", ".3g", "reached_90"),
    "least_over_honest": _multiple("cheapest price / honest q95", ".3g", "reached_90"),
    "queries_over_honest": _multiple("queries / honest q95", ".3g", "reached_90"),
    "expected_hashes": _multiple("hashes", ".3g"),
    "attacker_solve_seconds": _multiple("solving, s"),
    "attacker_usd": _multiple("USD", ".2g"),
    "honest_usd": _multiple("honest's USD", ".2g"),
    "more_time": _multiple("time / honest's"),
    "more_best": _multiple("cheapest time / honest's"),
    "more_money": _multiple("USD / honest's"),
    "measured_train_seconds": Column("training, s", 1, ".3g"),
    "measured_peak_mib": Column("peak, MiB"),
}
"""Columns of the tables, in their order."""


AS_HONEST = "asks what honest users ask, so no price on what answers reveal tells it from them"
"""What is said of attacks with `asks_as_honest`."""


def bound_by(name: str) -> str | None:
    """The column that is 0 where a figure is only a lower bound; None for figures that never are."""
    return COLUMNS[name].reached if name in COLUMNS else None


def multiples(names: list[str]) -> list[str]:
    """Those of some columns whose means are geometric."""
    return [name for name in names if name in COLUMNS and COLUMNS[name].is_multiple]


LIMITS = {
    **dict.fromkeys(("accuracy", "fidelity", "victim_accuracy", "transfer"), (0.0, 1.0)),
    **dict.fromkeys(("honest_accuracy", "honest_calibration_error", "honest_refused"), (0.0, 1.0)),
    "honest_l1": (0.0, 2.0),
    "kl": (0.0, math.inf),
}
"""Figures that cannot lie beyond these ends, nor do their intervals."""
