"""Tables of a sweep: for the terminal, in Markdown and in LaTeX."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from sweeps.report.frames import Heading, Sweep, alters_or_watches, tidy
from sweeps.report.means import points
from sweeps.report.results import CellResult

HEADINGS = {"dataset": "data set"}

SHOWN = {
    "queries": ("queries", 1, ",.0f"),
    "accuracy": ("accuracy %", 100, ".2f"),
    "fidelity": ("fidelity %", 100, ".2f"),
    "kl": ("KL", 1, ".3g"),
    "transfer": ("transfer %", 100, ".1f"),
    "query_seconds": ("seconds", 1, ".4g"),
    "total_seconds": ("with work", 1, ".4g"),
    "overhead": ("overhead", 1, ".4g"),
    "cheapest_pow_seconds": ("cheapest, s", 1, ".4g"),
    "honest_overhead": ("honest's", 1, ".4g"),
    "honest_accuracy": ("honest's accuracy %", 100, ".2f"),
    "honest_l1": ("honest's L1", 1, ".3g"),
    "honest_calibration_error": ("honest's ECE %", 100, ".2f"),
    "honest_refused": ("refused %", 100, ".1f"),
    "honest_false_alarms": ("false alarms %", 100, ".1f"),
    "alarm": ("alarms %", 100, ".0f"),
    "queries_until_alarm": ("at query", 1, ",.0f"),
    "queries_to_90": ("queries to 90 %", 1, ",.0f"),
    "seconds_to_90": ("price of 90 %, s", 1, ".4g"),
    "usd_to_90": ("price of 90 %, USD", 1, ".2g"),
    "honest_q95": ("honest q95, s", 1, ".4g"),
    "price_over_honest": ("price / honest q95", 1, ".3g"),
    "queries_over_honest": ("queries / honest q95", 1, ".3g"),
    "expected_hashes": ("hashes", 1, ".3g"),
    "attacker_usd": ("USD", 1, ".2g"),
    "honest_usd": ("honest's USD", 1, ".2g"),
    "measured_train_seconds": ("training, s", 1, ".3g"),
    "measured_peak_mib": ("peak, MiB", 1, ".4g"),
}
"""Columns of the tables: heading, factor, format. Behind COSTS_AFTER stand the sweep's privacy measures."""

COSTS_AFTER = ("queries", "accuracy", "fidelity", "kl", "transfer")

IN_A_PAPER = (
    *("queries", "accuracy", "fidelity", "query_seconds", "total_seconds"),
    *("overhead", "honest_overhead", "honest_accuracy", "honest_l1", "attacker_usd"),
)
"""Columns of the table in LaTeX, beside the privacy measures, as many as a page is wide."""


IN_THE_TERMINAL = {
    "queries": "queries",
    "accuracy": "accuracy %",
    "fidelity": "fidelity %",
    "total_seconds": "with work",
    "overhead": "overhead",
    "cheapest_pow_seconds": "cheapest, s",
    "honest_overhead": "honest's",
    "seconds_to_90": "price of 90 %, s",
    "price_over_honest": "price / honest q95",
    "honest_accuracy": "honest's accuracy %",
    "honest_l1": "honest's L1",
    "attacker_usd": "USD",
}
"""Columns of the table in the terminal, beside the privacy measures, and their headings."""

BY_CHANGED_ANSWERS = ("honest_accuracy", "honest_l1", "honest_calibration_error", "honest_refused")
"""Columns that are shown where some defense changes answers, or watches."""


def with_costs(names: Iterable[str], costs: Iterable[str]) -> list[str]:
    """Names of columns with those of the privacy measures behind COSTS_AFTER."""
    first = [name for name in names if name in COSTS_AFTER]
    return [*first, *costs, *(name for name in names if name not in COSTS_AFTER)]


def written_as(measures: Mapping[str, Heading]) -> dict[str, tuple[str, int, str]]:
    """SHOWN with the privacy measures."""
    return SHOWN | {name: (heading.label, 1, heading.format) for name, heading in measures.items()}


def readable(table: pd.DataFrame, sweep: Sweep, shown: Sequence[str] = tuple(SHOWN)) -> pd.DataFrame:
    """A table over seeds as text, each mean with its interval behind it.

    Args:
        table: Means over seeds of the sweep.
        sweep: It says which columns name a row, and which measures there are.
        shown: Columns with figures, beside the measures'. Those without a value are left out.

    Returns:
        A row a row of the table, its columns named by headings.
    """
    names, written = sweep.names, written_as(sweep.measures)
    columns = {HEADINGS.get(name, name): table[name] for name in names}
    columns["knows"] = table["knows"]
    columns["seeds"] = table["seeds"].astype(str)
    columns["gave up"] = pd.Series(
        [
            f"{round(share * seeds)} of {seeds}" if share else ""
            for share, seeds in zip(table["gave_up"], table["seeds"], strict=True)
        ],
        index=table.index,
    )
    rows = table.to_dict("records")
    for name in _telling(with_costs(shown, sweep.measures), table):
        if name in table:
            heading, factor, form = written[name]
            texts = [_shown(row, name, factor, form) for row in rows]
            columns[heading] = pd.Series(texts, index=table.index)
    text = pd.DataFrame(columns)
    return text.loc[:, (text != "").any()]


def _telling(names: Iterable[str], rows: pd.DataFrame) -> list[str]:
    """The columns without those that say nothing of these rows."""
    if alters_or_watches(rows).any():
        return list(names)
    return [name for name in names if name not in BY_CHANGED_ANSWERS]


def _shown(row: Mapping[Any, Any], name: str, factor: float, form: str) -> str:
    mean, half_width = row[name] * factor, row[f"{name}_interval"] * factor
    if np.isinf(mean):
        return _at_least(row, name, form)
    if np.isnan(mean):
        return ""
    if np.isnan(half_width) or half_width <= 1e-9 * abs(mean):
        return f"{mean:{form}}"
    return f"{mean:{form}} ± {half_width:{'.0f' if 100 <= half_width < 1e5 else '.2g'}}"


LOWER_BOUNDS = {"queries_to_90": "queries", "seconds_to_90": "pow_seconds", "usd_to_90": "attacker_usd"}
"""Columns of what some seed did not reach, and the columns of what was spent in vain."""


def _at_least(row: Mapping[Any, Any] | pd.Series[Any], name: str, form: str) -> str:
    """More than what was spent where the aim was not reached, as far as that is told."""
    spent = {
        **{column: row[bound] for column, bound in LOWER_BOUNDS.items() if bound in row},
        "price_over_honest": row.get("pow_seconds", np.nan) / row.get("honest_q95", np.nan),
    }.get(name, np.nan)
    return "not reached" if np.isnan(spent) else f"> {spent:{form}}"


def _is_text(heading: Hashable, names: Sequence[str]) -> bool:
    return heading in ("knows", "gave up", *(HEADINGS.get(name, name) for name in names))


def markdown(table: pd.DataFrame, sweep: Sweep) -> str:
    """The table of a sweep's means in Markdown."""
    text, names = readable(table, sweep), sweep.names
    rules = ["---" if _is_text(heading, names) else "---:" for heading in text]
    rows = [list(text.columns), rules, *text.to_numpy().tolist()]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def latex(table: pd.DataFrame, sweep: Sweep) -> str:
    """The table of a sweep's means in LaTeX, for the package booktabs."""
    text, names = readable(table, sweep, IN_A_PAPER), sweep.names
    alignment = "".join("l" if _is_text(heading, names) else "r" for heading in text)
    written: str = text.to_latex(index=False, escape=True, column_format=alignment)
    return "% \\usepackage{booktabs}; means over seeds with 95 % intervals (Student's)\n" + written.replace(
        "±", r"$\pm$"
    )


def terminal_table(cells: list[CellResult]) -> Table:
    """What each cell came to, a row a cell, for the terminal."""
    sweep = tidy(cells)
    last = points(sweep)
    table = Table(title="What each stolen model cost", title_justify="left")
    if last.empty:
        return table
    columns = {HEADINGS.get(name, name): last[name] for name in sweep.names if name != "hardware"}
    columns["seed"] = last["seed"].astype(str)
    headings = IN_THE_TERMINAL | {name: f"{heading.label} cost" for name, heading in sweep.measures.items()}
    written = written_as(sweep.measures)
    for name in _telling(with_costs(IN_THE_TERMINAL, sweep.measures), last):
        columns[headings[name]] = _formatted(last, name, *written[name][1:])
    columns["hardware"] = last["hardware"]
    columns["gave up"] = last["gave_up"].map({True: "yes", False: ""})
    text = pd.DataFrame(columns)
    text = text.loc[:, (text != "").any()]
    for heading in text:
        is_figure = heading in headings.values()
        table.add_column(str(heading), justify="right" if is_figure else "left")
    for row in text.to_numpy().tolist():
        table.add_row(*row)
    return table


def _formatted(rows: pd.DataFrame, name: str, factor: float, form: str) -> pd.Series[str]:
    """A column's figures as text; nothing where there are none."""
    if name not in rows:
        return pd.Series("", index=rows.index)

    def written(row: pd.Series[Any]) -> str:
        if np.isinf(row[name]):
            return _at_least(row, name, form)
        return "" if np.isnan(row[name]) else f"{row[name] * factor:{form}}"

    return rows.apply(written, axis=1)
