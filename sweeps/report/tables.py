"""Written tables of a sweep, in Markdown and in LaTeX."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweeps.report.columns import COLUMNS, Column
from sweeps.report.frames import Heading, Sweep, alters_or_watches

HEADINGS = {"dataset": "data set"}

COSTS_AFTER = ("queries", "accuracy", "fidelity", "accuracy_change", "kl", "transfer")
"""Columns before the sweep's privacy measures."""

SHOWN = tuple(name for name in COLUMNS if not name.startswith(("reached_", "more_", "attacker_solve")))
"""Columns of the table in Markdown: what was not reached is told beside its prices."""

IN_A_PAPER = (
    *("queries", "accuracy", "fidelity", "query_seconds", "total_seconds"),
    *("overhead", "honest_overhead", "honest_accuracy", "honest_l1", "attacker_usd"),
)
"""Columns of the table in LaTeX, beside the privacy measures, as many as a page is wide."""

BY_CHANGED_ANSWERS = ("honest_accuracy", "honest_l1", "honest_calibration_error", "honest_refused")
"""Columns that are shown where some defense changes answers, or watches."""


def with_costs(names: Iterable[str], costs: Iterable[str]) -> list[str]:
    """Names of columns with those of the privacy measures behind COSTS_AFTER."""
    first = [name for name in names if name in COSTS_AFTER]
    return [*first, *costs, *(name for name in names if name not in COSTS_AFTER)]


def written_as(measures: Mapping[str, Heading]) -> dict[str, Column]:
    """COLUMNS with the privacy measures."""
    return COLUMNS | {name: Column(own.label, 1, own.format) for name, own in measures.items()}


def readable(table: pd.DataFrame, sweep: Sweep, shown: Sequence[str] = SHOWN) -> pd.DataFrame:
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
    for name in telling(with_costs(shown, sweep.measures), table):
        if name in table:
            texts = [_shown(row, name, written[name]) for row in rows]
            columns[written[name].heading] = pd.Series(texts, index=table.index)
    text = pd.DataFrame(columns)
    return text.loc[:, (text != "").any()]


def telling(names: Iterable[str], rows: pd.DataFrame) -> list[str]:
    """The columns without those that say nothing of these rows."""
    if alters_or_watches(rows).any():
        return list(names)
    return [name for name in names if name not in BY_CHANGED_ANSWERS]


def _shown(row: Mapping[Any, Any], name: str, column: Column) -> str:
    """A mean with its interval; one of lower bounds with how many seeds came so far."""
    text, interval = with_interval(row, name, column)
    if text.startswith(">") and row["seeds"] > 1:
        came = round(row[str(column.reached)] * row["seeds"])
        return f"{text} ({came} of {row['seeds']} came so far)"
    return f"{text} {interval}" if interval else text


def with_interval(row: Mapping[Any, Any] | pd.Series[Any], name: str, column: Column) -> tuple[str, str]:
    """A mean and its interval as text; the interval is empty where there is none."""
    text = _written(row, name, column)
    return text, (_half_width if _is_symmetric(row, name) else _range)(row, name, column)


def _is_symmetric(row: Mapping[Any, Any] | pd.Series[Any], name: str) -> bool:
    """Whether an interval is told by half its width: it has one, and is cut off at no end."""
    if f"{name}_low" not in row:
        return True
    if f"{name}_interval" not in row:
        return False
    below, above = row[name] - row[f"{name}_low"], row[f"{name}_high"] - row[name]
    return bool(np.isnan(below) or np.isclose(below, above, rtol=1e-6, atol=1e-12))


def _half_width(row: Mapping[Any, Any] | pd.Series[Any], name: str, column: Column) -> str:
    """Half the width of an interval, where seeds differ."""
    half_width = row[f"{name}_interval"] * column.factor
    if np.isnan(half_width) or half_width <= 1e-9 * abs(row[name] * column.factor):
        return ""
    return f"± {half_width:{'.0f' if 100 <= half_width < 1e5 else '.2g'}}"


def _range(row: Mapping[Any, Any] | pd.Series[Any], name: str, column: Column) -> str:
    """Both ends of an interval, where seeds differ."""
    low, high = (row[f"{name}_{end}"] * column.factor for end in ("low", "high"))
    if np.isnan(low) or high <= low * (1 + 1e-9):
        return ""
    if np.isinf(high):
        return f"({number(low, column.format)} or more)"
    return f"({number(low, column.format)} to {number(high, column.format)})"


def number(value: float, form: str) -> str:
    """A number as Python's format() has it, but 12350 where that has 1.235e+04."""
    text = f"{value:{form}}"
    return f"{float(text):.0f}" if "e+0" in text and abs(value) < 1e7 else text


def _written(row: Mapping[Any, Any] | pd.Series[Any], name: str, column: Column) -> str:
    """A figure, and that it is a lower bound where it is one."""
    if np.isnan(row[name]):
        return ""
    is_bound = column.reached is not None and row.get(column.reached, 1) < 1
    return ("> " if is_bound else "") + number(row[name] * column.factor, column.format)


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
    note = "means over seeds with 95 % intervals (of seeds and test images, of multiples on the log scale)"
    if (table["seeds"] == 1).any():
        note += "; of one seed of its test images alone"
    return f"% \\usepackage{{booktabs}}; {note}\n" + written.replace("±", r"$\pm$")
