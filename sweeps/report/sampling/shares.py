"""Shares of yes and no among few: how far the true ones may lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pow.shares import share_interval
from sweeps.report.columns import OTHER_GOALS

OF_SAMPLES = {"honest_false_alarms": "honest_false_alarms_samples"}
"""Shares of users, and the column that says how many of them are independent of each other in a cell."""

OF_SEEDS = ("alarm", "reached_90", *(f"reached_{goal}" for goal in OTHER_GOALS))
"""Figures that are yes or no in each seed."""


def share_ends(
    means: pd.DataFrame, half_widths: pd.DataFrame, rows: pd.DataFrame, by: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Ends of 95 % intervals of shares, columns low and high, a row a mean, by the shares' names.

    Those of seeds are Clopper and Pearson's, and NaN for a single seed. Those of OF_SAMPLES hold what seeds
    vary by, too. Seeds share test images, so they have no more independent users than one of them.

    Args:
        means: Means over seeds.
        half_widths: Half the width of their Student's intervals.
        rows: A row a seed.
        by: Columns in which the rows of a mean agree.
    """
    groups = rows.groupby(list(by), sort=False)
    found = {}
    for name in [name for name in OF_SEEDS if name in means]:
        seeds = groups[name].count()
        found[name] = _exact(means[name], seeds.astype(float).where(seeds > 1))
    for name, counted in OF_SAMPLES.items():
        if name in means and counted in rows:
            exact = _exact(means[name], groups[counted].min())
            half = half_widths[name].where(exact["low"].isna(), half_widths[name].fillna(0))
            below, above = ((means[name] - exact[end]).fillna(0) for end in ("low", "high"))
            ends = {"low": means[name] - np.hypot(below, half), "high": means[name] + np.hypot(above, half)}
            found[name] = pd.DataFrame(ends).clip(0, 1)
    return found


def _exact(share: pd.Series[float], samples: pd.Series[float]) -> pd.DataFrame:
    """Ends of each share of so many samples, NaN where either is."""
    told = [
        (np.nan, np.nan) if np.isnan(one) or np.isnan(number) else share_interval(one * number, int(number))
        for one, number in zip(share, samples, strict=True)
    ]
    return pd.DataFrame(told, index=share.index, columns=["low", "high"])
