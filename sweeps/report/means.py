"""Means over seeds, with 95 % intervals: of tables and of curves.

Test images are a sample, too, and all seeds share it. So the interval of an accuracy holds both: what seeds
vary by, with Student's factor for their number, and what other test images would change in the seeds' mean.
It is what a bootstrap over seeds and images comes to, but for the few seeds, of which a bootstrap says less
than there is to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.core.groupby import DataFrameGroupBy
from scipy.special import ndtri, stdtrit

from sweeps.report.columns import LIMITS, bound_by, multiples
from sweeps.report.frames import Sweep
from sweeps.report.results import HITS
from sweeps.report.sampling.images import ON_TEST_IMAGES, image_errors, share_error
from sweeps.report.sampling.prices import PRICES, log_half_widths
from sweeps.report.sampling.shares import OF_SAMPLES, share_ends

NORMAL = float(ndtri(0.975))
"""Half the width of a 95 % interval in standard errors, of many."""

COUNTED = ("honest_images", "transfer_images", *OF_SAMPLES.values())

NOT_MEASURED = ["cell", "seed", "strength", "round", *HITS, "right_undefended", "replicates", *COUNTED]
"""Columns of a sweep's frames whose means would say nothing."""

FLAGS = ("gave_up", "asks_as_honest")
"""Columns that are true or false, whose means are shares."""

SHARES = {"honest_accuracy": "honest_images", "victim_accuracy": "images", "transfer": "transfer_images"}
"""Other figures that are shares of images, and the column that says of how many."""


def points(sweep: Sweep, at: Iterable[int] = ()) -> pd.DataFrame:
    """One row a cell and number of queries: the last point of each curve, or those `at` these numbers.

    Where a curve has no point at a number of queries, the last before it stands; none before its first and
    none beyond its last. A number at which all curves stand where they did at a smaller one is left out. The
    column `at` holds that number, -1 for the last point.
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
    told: list[pd.DataFrame] = []
    for part in wanted:
        if not any(_same_points(part, earlier) for earlier in told):
            told.append(part)
    return pd.concat(told).sort_values(["cell", "queries", "at"])


def _same_points(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether rows are of the same points of the same curves."""
    return one[["cell", "queries"]].to_numpy().tolist() == other[["cell", "queries"]].to_numpy().tolist()


def over_seeds(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Means over the rows that agree in `by`, one for each seed, and their number as `seeds`.

    Columns `<name>_interval` hold half the width of the 95 % intervals, Student's, NaN for a single seed.
    Those of ON_TEST_IMAGES and SHARES hold the sampling of images, too, and for a single seed that alone.
    Figures with LIMITS have the ends of theirs, too, cut off there, in `<name>_low` and `<name>_high`.
    Shares of few have ends, `<name>_low` and `<name>_high`, in its place (see share_ends).
    Multiples (see Column) have geometric means, and the ends of their intervals, Student's of the logarithms,
    in `<name>_low` and `<name>_high`. A multiple that is 0 for some seed has the mean 0 and no interval.
    Those of prices hold the sampling of test images, too; where others might show that a seed's attacker did
    not come so far, the upper end is infinite. Where some seed's figure is a lower bound, so is the mean, and
    there is no interval; the column that says who came so far (`reached_90`) is below 1 there.

    `knows` is kept, and `gave_up` becomes the share of seeds whose attacker gave up.
    """
    if rows.empty:
        return pd.DataFrame()
    dropped = [name for name in NOT_MEASURED if name in rows and name not in by]
    rows = rows.astype({name: float for name in FLAGS if name in rows})
    figures = rows.drop(columns=dropped)
    groups = figures.groupby(list(by), sort=False)
    means, factor = groups.mean(numeric_only=True), _students_factor(groups)
    half_widths = groups.sem(ddof=1, numeric_only=True) * factor[means.columns]
    half_widths = _with_images(half_widths, means, rows, by).where(means.notna())
    cut_off = {
        f"{name}_{end}": (means[name] + sign * half_widths[name]).clip(*LIMITS[name])
        for name in LIMITS.keys() & set(means)
        for end, sign in (("low", -1), ("high", 1))
    }
    table = pd.concat([means, half_widths.add_suffix("_interval"), pd.DataFrame(cut_off)], axis=1)
    for name, ends in share_ends(means, half_widths, rows, by).items():
        table = table.drop(columns=f"{name}_interval").join(ends.add_prefix(f"{name}_"))
    if on_log_scale := multiples(list(means.columns)):
        table = _with_geometric(table, rows, by, on_log_scale, factor)
    table = pd.concat([groups.size().rename("seeds"), groups["knows"].first(), table], axis=1)
    return table.copy().reset_index()  # a copy, since pandas warns of frames in a hundred pieces


def _with_images(
    half_widths: pd.DataFrame, means: pd.DataFrame, rows: pd.DataFrame, by: Sequence[str]
) -> pd.DataFrame:
    """Half widths with the sampling of test images, where rows tell how many there were."""
    errors = {
        name: image_errors(rows, by, half_widths.index, name)
        for name in ON_TEST_IMAGES
        if name in half_widths
    }
    for name, counted in SHARES.items():
        if name in half_widths and counted in rows:
            images = rows.groupby(list(by), sort=False)[counted].min()
            errors[name] = share_error(means[name], images)
    for name, of_images in errors.items():
        of_seeds = half_widths[name].where(of_images.isna(), half_widths[name].fillna(0))
        half_widths[name] = np.hypot(of_seeds, NORMAL * of_images.fillna(0))
    return half_widths


def _with_geometric(
    table: pd.DataFrame, figures: pd.DataFrame, by: Sequence[str], names: list[str], factor: pd.DataFrame
) -> pd.DataFrame:
    """The table with geometric means of some columns, and the ends of their intervals.

    Logarithms are those of figures over their arithmetic mean, so that seeds that agree have it exactly.
    """
    centers = figures.groupby(list(by), sort=False)[names].transform("mean")
    ratios = (figures[names] / centers).where((centers > 0) & np.isfinite(centers), figures[names] + 1)
    with np.errstate(divide="ignore"):
        logs = pd.DataFrame(np.log(ratios)).groupby([figures[name] for name in by], sort=False)
    shift, half = logs.mean(), logs.sem(ddof=1) * factor[names]
    half, is_open = _with_images_in_prices(half, figures, by)
    half = half.where(np.isfinite(shift))
    for name in names:
        if (reached := bound_by(name)) in table:
            half[name] = half[name].where(table[reached] == 1)
    arithmetic = table[names]
    others = table.drop(columns=[f"{name}_interval" for name in names])
    low, high = (arithmetic * np.exp(shift + sign * half) for sign in (-1, 1))
    ends = [low.add_suffix("_low"), high.mask(is_open & high.notna(), np.inf).add_suffix("_high")]
    return pd.concat([others.assign(**(arithmetic * np.exp(shift))), *ends], axis=1)


def _with_images_in_prices(
    half: pd.DataFrame, rows: pd.DataFrame, by: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Half widths of logarithms with the sampling of test images, and which intervals have no upper end."""
    is_open = pd.DataFrame(False, index=half.index, columns=half.columns)
    for name in PRICES.keys() & set(half) if "replicates" in rows else ():
        told = log_half_widths(rows, by, half.index, name)
        of_seeds = half[name].where(told["half"].isna(), half[name].fillna(0))
        half[name] = np.hypot(of_seeds, told["half"].fillna(0))
        is_open[name] = told["is_open"]
    return half, is_open


def _students_factor(groups: DataFrameGroupBy[Any, Any]) -> pd.DataFrame:
    """Half the width of a 95 % interval in standard errors, by how many seeds have a figure."""
    counts = groups.count()
    degrees = (counts - 1).where(counts > 1).astype(float)
    return pd.DataFrame(stdtrit(degrees, 0.975), index=counts.index, columns=counts.columns)
