"""The table of a sweep: what each attack costs under each defence, as means over seeds with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from sweeps.results import CellResult

GROUP = ["dataset", "attack", "defense", "hardware", "queries"]
"""Cells that agree in these, and differ in their seeds, are repetitions of each other."""

SHOWN = {
    "accuracy": ("accuracy %", 100, ".2f"),
    "fidelity": ("fidelity %", 100, ".2f"),
    "cost_pate": ("PATE", 1, ".4g"),
    "cost_pknn": ("pkNN", 1, ".4g"),
    "cost_entropy": ("entropy", 1, ".4g"),
    "cost_gap": ("gap", 1, ".4g"),
    "query_seconds": ("seconds", 1, ".4g"),
    "total_seconds": ("with work", 1, ".4g"),
    "overhead": ("overhead", 1, ".4g"),
    "honest_overhead": ("honest's", 1, ".4g"),
    "thief_usd": ("USD", 1, ".2g"),
    "measured_train_seconds": ("training, s", 1, ".3g"),
    "measured_peak_mib": ("peak, MiB", 1, ".4g"),
}
"""Columns of the Markdown table: heading, factor, format."""


def points(cells: Iterable[CellResult], at: Iterable[int] = ()) -> pd.DataFrame:
    """One row a cell and number of queries: the last point of each curve, or those `at` these numbers.

    Where a curve has no point at a number of queries, the last before it stands; none before its first.
    """
    rows = []
    for cell in cells:
        asked = cell.curve["queries"]
        for wanted in tuple(at) or (asked.iloc[-1],):
            reached = cell.curve[asked <= wanted]
            if reached.empty or wanted > asked.iloc[-1]:
                continue
            rows.append(
                {
                    "dataset": cell.result["dataset"],
                    "attack": cell.attack,
                    "defense": cell.defense,
                    "hardware": cell.result.get("hardware") or "",
                    "seed": cell.result["seed"],
                    "cell": cell.result["keys"]["cell"],
                    **reached.iloc[-1].to_dict(),
                }
            )
    return pd.DataFrame(rows).drop_duplicates(["cell", "queries"]) if rows else pd.DataFrame()


def over_seeds(points: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, and in columns `<name>_interval` half the width of their 95 % intervals.

    The intervals are Student's, NaN for a single seed. Raises ValueError where two cells of one seed
    differ in something that the table does not show: their mean would not be one over seeds.
    """
    repeated = points.duplicated([*GROUP, "seed"], keep=False)
    if repeated.any():
        first = points[repeated].iloc[0]
        raise ValueError(
            f"several cells are {first['attack']} on {first['dataset']} with defence {first['defense']} and "
            f"seed {first['seed']}, and differ in other options: report their folders one by one"
        )
    groups = points.drop(columns=["cell", "seed"]).groupby(GROUP, sort=False)
    means, counts = groups.mean(), groups.size()
    half_widths = groups.sem(ddof=1).mul(_students_factor(counts), axis=0).add_suffix("_interval")
    table = pd.concat([means, half_widths], axis=1)
    table.insert(0, "seeds", counts)
    return table.reset_index()


def _students_factor(counts: pd.Series[int]) -> pd.Series[float]:
    degrees = (counts - 1).where(counts > 1)
    return pd.Series(stats.t.ppf(0.975, degrees.to_numpy(dtype=float)), index=counts.index)


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown, each mean with its interval behind it."""
    names = [name for name in SHOWN if name in table]
    headings = ["data set", "attack", "defence", "hardware", "queries", "seeds"]
    lines = ["| " + " | ".join(headings + [SHOWN[name][0] for name in names]) + " |"]
    lines.append("|" + "---|" * len(headings) + "---:|" * len(names))
    for row in table.to_dict("records"):
        labels = [str(row[name]) for name in ("dataset", "attack", "defense", "hardware")]
        counts = [f"{row['queries']:,.0f}", str(row["seeds"])]
        values = [_shown(row, name) for name in names]
        lines.append("| " + " | ".join(labels + counts + values) + " |")
    return "\n".join(lines) + "\n"


def _shown(row: Mapping[Any, Any], name: str) -> str:
    _, factor, form = SHOWN[name]
    mean, half_width = row[name] * factor, row[f"{name}_interval"] * factor
    if np.isnan(mean):
        return ""
    return f"{mean:{form}}" + ("" if np.isnan(half_width) else f" ± {half_width:.2g}")
