"""What a replay prints."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.table import Table


def summary(rows: pd.DataFrame) -> Table:
    """A line a mode: its last row."""
    table = Table(title="What the trace costs with proof of work")
    for name in (
        "mode",
        "queries",
        "sum of privacy costs",
        "seconds",
        "with work",
        "overhead",
        "expected hashes",
    ):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for mode, row in rows.groupby("mode", sort=False).last().iterrows():
        table.add_row(
            str(mode),
            f"{row.queries:,.0f}",
            f"{row.privacy:,.1f}",
            *(f"{value:,.4g}" for value in (row.time, row.time_pow)),
            *(f"{value:.3g}" for value in (row.overhead, row.expected_hashes)),
        )
    return table


def bills(rows: pd.DataFrame, hardware: Sequence[str]) -> Table:
    """A line a mode and hardware: the bill of its last row."""
    table = Table(title="What solving takes")
    for name in ("mode", "hardware", "seconds", "kWh", "USD"):
        table.add_column(name, justify="left" if name in ("mode", "hardware") else "right")
    for mode, row in rows.groupby("mode", sort=False).last().iterrows():
        for name in hardware:
            figures = (row[f"{figure}_{name}"] for figure in ("solve_seconds", "kwh", "usd"))
            table.add_row(str(mode), name, *(f"{value:.3g}" for value in figures))
    return table


def responses(rows: pd.DataFrame) -> Table:
    """A line a mode: how the attacker asks all its queries."""
    table = Table(title="How the attacker asks")
    for name in ("mode", "strategy", "accounts", "pads", "request size"):
        table.add_column(name, justify="left" if name in ("mode", "strategy") else "right")
    for mode, row in rows.groupby("mode", sort=False).last().iterrows():
        figures = (row.accounts, row.pads, row.request_size)
        table.add_row(str(mode), row.strategy, *(f"{value:,}" for value in figures))
    return table
