"""The table of a sweep in the terminal: the few columns that differ or matter, as wide as the terminal is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sweeps.report.columns import AS_HONEST, Column
from sweeps.report.frames import Sweep
from sweeps.report.means import over_seeds, points
from sweeps.report.tables import HEADINGS, telling, with_interval, written_as

MOST_COLUMNS = 8
FEW_COLUMNS = 6
"""With fewer than these a table breaks its lines between means and intervals, to have room for more."""

FIGURES = {
    "accuracy": "accuracy %",
    "price_over_honest": "price of 90 % / honest q95",
    "least_over_honest": "in its cheapest way / honest q95",
    "overhead": "attacker takes, times",
    "cheapest_overhead": "at its cheapest, times",
    "honest_overhead": "honest user takes, times",
    "honest_accuracy": "honest user's accuracy %",
    "seconds_to_90": "price of 90 %, s",
    "fidelity": "fidelity %",
}
"""Figures and their headings. Where there is no room for all, the first of them are shown."""

LAST_FIGURES = {"queries": "queries", "attacker_usd": "USD"}
"""Those that stand behind the privacy measures."""

SHARED = ("data set", "seed", "hardware", "queries")
"""What stands below the table first, where all rows agree in it."""

EXPLAINED = {
    "takes": "times: how many times as long as without work, on each side's own hardware.",
    "90 %": "price of 90 %: work until the copy has 90 % of the victim's accuracy.",
    "q95": "honest q95: the work that 95 % of honest users stay below.",
}
"""Sentences below the table for words in its headings."""

COLUMN_GAP = 2


@dataclass(frozen=True)
class _Shown:
    """A column as text: a figure is written to the right, and no line of it is broken."""

    heading: str
    cells: list[str]
    is_figure: bool

    def width(self) -> int:
        """What it needs: the longest line of a figure, the longest word of a name or of a heading."""
        parts = [cell.split("\n" if self.is_figure else " ") for cell in self.cells]
        words = [word for part in [*parts, self.heading.split(" ")] for word in part]
        return max(map(len, words))


def terminal_table(sweep: Sweep, width: int) -> tuple[Table, str]:
    """Means over seeds with their intervals, a row for each attack, defense and whatever else differs.

    Args:
        sweep: The finished cells.
        width: Of the terminal, in characters.

    Returns:
        The table, at most MOST_COLUMNS columns, and notes to stand below it: what all rows agree in, and what
        the figures are.
    """
    last = points(sweep)
    if last.empty:
        return _empty(), ""
    rows = over_seeds(last.drop(columns="at"), sweep.names)
    names, figures = _names(rows, sweep), _figures(rows, sweep)
    shared = {shown.heading: max(shown.cells) for shown in names if _agrees(shown)} | _of_all(last)
    if len(rows) == 1:
        shared = {name: text for name, text in shared.items() if name in SHARED}
    kept = [shown for shown in names if shown.heading not in shared]
    telling_first = sorted((shown for shown in figures if shown.heading not in shared), key=_agrees)
    chosen = _fitting(kept, telling_first[: MOST_COLUMNS - len(kept)], width)
    notes = _notes(shared, last["seed"].nunique(), [shown.heading for shown in chosen])
    if alike := sorted(set(rows["attack"][rows["asks_as_honest"] == 1])):
        notes += f"\n{', '.join(alike)}: {AS_HONEST}."
    return _drawn(chosen, len(kept), width), notes


def print_table(sweep: Sweep, console: Console) -> None:
    """Print the table and its notes."""
    table, notes = terminal_table(sweep, console.width)
    console.print(table)
    console.print(notes, highlight=False)


def _of_all(last: pd.DataFrame) -> dict[str, str]:
    """The seed and the number of queries, where there is one."""
    seeds, queries = set(last["seed"]), set(last["queries"])
    found = {"seed": f"{max(seeds)}"} if len(seeds) == 1 else {}
    return found | ({"queries": f"{max(queries):,}"} if len(queries) == 1 else {})


def _names(rows: pd.DataFrame, sweep: Sweep) -> list[_Shown]:
    """What the rows are: their names, and how many seeds and attackers who gave up they have."""
    texts = {HEADINGS.get(name, name): rows[name].astype(str) for name in sweep.names}
    if rows["seeds"].nunique() > 1:
        texts["seeds"] = rows["seeds"].astype(str)
    if (rows["gave_up"] > 0).any():
        texts["gave up"] = rows["gave_up"].map(lambda share: f"{100 * share:.0f} %" if share else "")
    return [_Shown(str(name), text.tolist(), False) for name, text in texts.items() if (text != "").any()]


def _figures(rows: pd.DataFrame, sweep: Sweep) -> list[_Shown]:
    """The figures that rows have, the ones that matter most first; privacy costs come last."""
    costs = {name: f"{heading.label} cost" for name, heading in sweep.measures.items()}
    headings = FIGURES | costs | LAST_FIGURES
    written = written_as(sweep.measures)
    told = [name for name in telling(headings, rows) if name in rows and rows[name].notna().any()]
    return [_Shown(headings[name], _texts(rows, name, written[name]), True) for name in told]


def _texts(rows: pd.DataFrame, name: str, column: Column) -> list[str]:
    """Means, each with its interval in a line of its own, whose ends have two digits."""
    each = [with_interval(row, name, _with_short_ends(row, name, column)) for _, row in rows.iterrows()]
    means = [with_interval(row, name, column)[0] for _, row in rows.iterrows()]
    return ["\n".join(filter(None, (mean, ends))) for mean, (_, ends) in zip(means, each, strict=True)]


def _with_short_ends(row: pd.Series[Any], name: str, column: Column) -> Column:
    """The column with two digits for the ends of its interval, where that hardly moves them."""
    if column.format != ".4g" or f"{name}_low" not in row:
        return column
    low, high = (float(row[f"{name}_{end}"]) for end in ("low", "high"))
    if not math.isfinite(low):
        return column
    moved = max(abs(float(f"{end:.2g}") - end) for end in (low, high) if math.isfinite(end))
    return replace(column, format=".2g") if moved < 0.1 * (high - low) else column


def _agrees(shown: _Shown) -> bool:
    """Whether all rows that have a name, or all rows, say the same."""
    texts = set(shown.cells)
    return len(texts if shown.is_figure else texts - {""}) == 1


def _fitting(names: Sequence[_Shown], figures: Sequence[_Shown], width: int) -> list[_Shown]:
    """As many of the columns as there is room for, intervals beside their means or below them."""
    beside = [replace(each, cells=[cell.replace("\n", " ") for cell in each.cells]) for each in figures]
    chosen = _first(names, beside, width)
    if len(chosen) < min(FEW_COLUMNS, len(names) + len(figures)):
        chosen = _first(names, figures, width)
    return chosen


def _first(names: Sequence[_Shown], figures: Sequence[_Shown], width: int) -> list[_Shown]:
    """The names, and the first of the figures that fit beside them: one at least."""
    left = width - sum(_name_width(each, len(names), width) + COLUMN_GAP for each in names)
    chosen: list[_Shown] = []
    for each in figures:
        left -= each.width() + COLUMN_GAP
        if chosen and left < -COLUMN_GAP:
            break
        chosen.append(each)
    return [*names, *chosen]


def _name_width(shown: _Shown, names: int, width: int) -> int:
    """Of a column of names: a long one is broken rather than have half of the terminal."""
    return min(shown.width(), max(8, width // (2 * names)))


def _empty() -> Table:
    return Table(
        title="What each stolen model cost",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, COLUMN_GAP - 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def _drawn(shown: Sequence[_Shown], names: int, width: int) -> Table:
    table = _empty()
    for each in shown:
        own = each.width() if each.is_figure else _name_width(each, names, width)
        justify = "right" if each.is_figure else "left"
        table.add_column(each.heading, justify=justify, width=own, overflow="fold")  # type: ignore[arg-type]
    for cells in zip(*(each.cells for each in shown), strict=True):
        table.add_row(*cells)
    return table


def _notes(shared: dict[str, str], seeds: int, headings: list[str]) -> str:
    """What all rows agree in, and what figures are."""
    first = {name: shared[name] for name in SHARED if name in shared}
    agreed = "; ".join(f"{name}: {' '.join(text.split())}" for name, text in (first | shared).items())
    intervals = "± and brackets: 95 % intervals"
    told = [f"Means over {seeds} seeds. {intervals}, of test images too."]
    if seeds == 1:
        told = [f"One seed. {intervals} of test images alone, not of what other seeds would give."]
    told += [sentence for word, sentence in EXPLAINED.items() if any(word in name for name in headings)]
    return "\n".join([agreed, *told] if agreed else told)
