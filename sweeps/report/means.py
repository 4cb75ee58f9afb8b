"""Means over seeds, with 95 % intervals: of tables and of curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
from scipy.special import stdtrit

from sweeps.report.frames import Sweep

NOT_MEASURED = ["cell", "seed", "strength", "round"]
"""Columns of a sweep's frames whose means would say nothing."""


def points(sweep: Sweep, at: Iterable[int] = ()) -> pd.DataFrame:
    """One row a cell and number of queries: the last point of each curve, or those `at` these numbers.

    Where a curve has no point at a number of queries, the last before it stands; none before its first and
    none beyond its last. The column `at` holds that number, -1 for the last point.
    """
    curves = sweep.curves
    if curves.empty:
        return curves
    last = curves.groupby("cell", sort=False).tail(1)
    wanted = [last.assign(at=-1)]
    if at := tuple(at):
        longest = curves["cell"].map(last.set_index("cell")["queries"])
        wanted = [
            curves[(curves["queries"] <= number) & (longest >= number)]
            .groupby("cell", sort=False)
            .tail(1)
            .assign(at=number)
            for number in at
        ]
    return pd.concat(wanted).drop_duplicates(["cell", "queries"]).sort_values(["cell", "queries"])


def over_seeds(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Means over the rows that agree in `by`, one for each seed, and their number as `seeds`.

    Columns `<name>_interval` hold half the width of the 95 % intervals, Student's, NaN for a single seed.
    `knows` is kept, and `gave_up` becomes the share of seeds whose attacker gave up.
    """
    if rows.empty:
        return pd.DataFrame()
    dropped = [name for name in NOT_MEASURED if name in rows and name not in by]
    figures = rows.drop(columns=dropped).astype({"gave_up": float})
    groups = figures.groupby(list(by), sort=False)
    means, counts = groups.mean(numeric_only=True), groups.count()
    half_widths = groups.sem(ddof=1, numeric_only=True) * _students_factor(counts[means.columns])
    table = pd.concat([means, half_widths.add_suffix("_interval")], axis=1)
    table.insert(0, "seeds", groups.size())
    table.insert(1, "knows", groups["knows"].first())
    return table.reset_index()


def _students_factor(counts: pd.DataFrame) -> pd.DataFrame:
    degrees = (counts - 1).where(counts > 1).astype(float)
    return pd.DataFrame(stdtrit(degrees, 0.975), index=counts.index, columns=counts.columns)
