"""What pictures show: data sets, attacks and defenses by names that tell them apart, and their means."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sweeps.report.frames import Sweep, alters_or_watches
from sweeps.report.means import over_seeds, points
from sweeps.report.sampling.pairs import told_apart

ATTACK_SIDE = ("attack", "substitute", "query_pool", "seed")
DATASET_SIDE = ("dataset", "victim", "privacy", "trainer", "paths")
"""Sections of the config whose options are named with the attack, and with the data set; others go with the
defense."""


def setups(sweep: Sweep) -> pd.DataFrame:
    """Columns dataset, attack, defense and toll (the defense without its strength), a row a cell.

    An option is named only where it varies under one name. The attacker's hardware is named beside the
    defense where a sweep has several.
    """
    cells = sweep.cells
    named = cells[["dataset", "attack", "defense", "toll"]].copy()
    if cells["hardware"].replace("", pd.NA).nunique() > 1:
        _append(
            named, "defense", cells["hardware"].map(lambda hardware: f" · {hardware}" if hardware else "")
        )
    for option in sweep.varying:
        side = _side(option)
        among = cells.groupby(list(dict.fromkeys(["dataset", side])), sort=False)[option]
        is_named = (among.transform("nunique") > 1) & (cells[option] != "")
        _append(named, side, (", " + option.rsplit(".", 1)[-1] + " " + cells[option]).where(is_named, ""))
    return named


def _append(named: pd.DataFrame, side: str, text: pd.Series[str]) -> None:
    for name in ("defense", "toll") if side == "defense" else (side,):
        named[name] += text


def _side(option: str) -> str:
    section = option.split(".")[0]
    if section in ATTACK_SIDE:
        return "attack"
    return "dataset" if section in DATASET_SIDE else "defense"


def _named(rows: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """Points of curves with the names of their setups."""
    named = setups(sweep)
    return rows.assign(**{str(name): rows["cell"].map(named[name]) for name in named})


def finals(sweep: Sweep) -> pd.DataFrame:
    """Where each attack ended under each defense, as means over seeds."""
    return over_seeds(_named(points(sweep), sweep), ["dataset", "attack", "defense"])


def lines(sweep: Sweep) -> pd.DataFrame:
    """Mean curves: a row for each data set, attack, defense and round.

    A round's mean is over the seeds whose attacker came so far.
    """
    return over_seeds(_named(sweep.curves, sweep), ["dataset", "attack", "defense", "round"])


def strengths(sweep: Sweep) -> pd.DataFrame:
    """Where each attack ended at each strength of a defense that has several, from the weakest on."""
    tolled = points(sweep)
    tolled = tolled[tolled["strength"].notna()]
    if tolled.empty:
        return tolled
    by = ["dataset", "attack", "toll"]
    rows = over_seeds(_named(tolled, sweep), [*by, "strength"])
    several = rows.groupby(by)["strength"].transform("nunique") > 1
    return rows[several].sort_values("strength", kind="stable")


def frontier(sweep: Sweep) -> pd.DataFrame:
    """What each defense costs an honest user, and how far each attacker came against it, as means over seeds.

    A row for each data set, attack and defense, with `answers_lost` (half the L1 distance, which is the share
    of probability that was moved, and the share of queries refused), `time_lost` (honest_overhead - 1) and
    `is_undominated` (see `_undominated`). Only of attacks that also met a defense that changes answers or
    watches.
    """
    seeds = _named(points(sweep), sweep)
    rows = over_seeds(seeds, ["dataset", "attack", "defense", "toll"])
    if "honest_l1" not in rows:
        return rows.iloc[:0]
    rows = rows[rows["honest_l1"].notna()]
    rows = rows[alters_or_watches(rows).groupby([rows["dataset"], rows["attack"]]).transform("any")]
    rows = rows.assign(
        answers_lost=rows["honest_l1"] / 2 + rows["honest_refused"], time_lost=rows["honest_overhead"] - 1
    )
    undominated = [
        _undominated(own, seeds[(seeds[["dataset", "attack"]] == list(key)).all(axis=1)])
        for key, own in rows.groupby(["dataset", "attack"], sort=False)
    ]
    return rows.assign(is_undominated=pd.concat(undominated) if undominated else False)


def _undominated(rows: pd.DataFrame, seeds: pd.DataFrame) -> pd.Series[bool]:
    """Whether no other of these defenses is better.

    Better is one that costs no more answers and no more time, and leaves the attacker less accurate by more
    than chance, or costs less of either and does not leave it more accurate on the test images. What chance
    does is told by differences of the same seeds and test images (see told_apart).
    """
    costs = rows[["answers_lost", "time_lost"]].to_numpy()
    no_more, less = (costs[:, None] <= costs).all(2), (costs[:, None] < costs).any(2)
    own = dict(list(seeds.groupby("defense")))
    order = [own[name] for name in rows["defense"]]
    signs = [[(0.0, 0.0) if one is other else told_apart(one, other) for other in order] for one in order]
    sign, by_images = np.moveaxis(np.array(signs), 2, 0)
    better = no_more & ((sign < 0) | (less & (by_images <= 0)))
    return pd.Series(~better.any(0), index=rows.index)
