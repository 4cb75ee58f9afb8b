"""The sampling of test images in prices: at which round a model seems good enough depends on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from sweeps.report.columns import OTHER_GOALS
from sweeps.report.results import CellResult
from sweeps.report.sampling.images import places_of, unpacked

REPLICATES = 200
"""So often test images are drawn anew, with repetition."""

TAIL = 0.025
"""Share of replicates on either side of an interval; if as many fall short, it has no upper end."""

GOALS = {"90": ("accuracy", 90)} | {
    goal: (figure, int(share)) for goal, (figure, share, _) in OTHER_GOALS.items()
}
"""What an attacker may want, by the end of the columns' names: `accuracy` or `fidelity`, and per cent."""

PRICES = {
    "queries_to_90": ("90", "queries"),
    "usd_to_90": ("90", "attacker_usd"),
    "price_over_honest": ("90", "pow_seconds"),
    "least_over_honest": ("90", "cheapest_pow_seconds"),
    "queries_over_honest": ("90", "queries"),
    **{f"seconds_to_{goal}": (goal, "attacker_solve_seconds") for goal in GOALS},
}
"""Prices, the goal of each, and the column of the curve that tells it or what it is a multiple of."""

ROUNDING = 1e-6
"""Shares that differ by less are equal: they are computed in float32."""

OWN_COLUMN = {"attacker_solve_seconds": "pow_seconds"}
"""What stands for a bill's column in curves of early versions."""


@lru_cache(maxsize=4)
def _drawn(images: int) -> np.ndarray:
    """How often each image is in each replicate, as a share, float32 `[images, 1 + REPLICATES]`.

    First come the images as they are. All seeds have the same replicates, as they share the images.
    """
    random = np.random.default_rng(0)
    counts = random.multinomial(images, np.full(images, 1 / images), size=REPLICATES)
    counts = np.concatenate([np.ones((1, images)), counts])
    return np.ascontiguousarray(counts.T, dtype=np.float32) / np.float32(images)


def replicates_of(cell: CellResult) -> dict[str, np.ndarray] | None:
    """Logarithms of a cell's PRICES, but for a factor, by the drawn images; float64 `[1 + REPLICATES]` each.

    They are +inf where no round reaches the goal. None where the cell does not tell its images.
    """
    if cell.hits.empty or not cell.result.get("price_to_reach"):
        return None
    rounds = crossings(cell.hits, cell.result["victim_accuracy"])
    found = {name: _logs(cell.curve, rounds[goal], column) for name, (goal, column) in PRICES.items()}
    return {name: logs for name, logs in found.items() if logs is not None}


def crossings(hits: pd.DataFrame, victim_accuracy: float) -> dict[str, np.ndarray]:
    """The number of the first round that reaches each of GOALS, int `[1 + REPLICATES]`; -1: none.

    Args:
        hits: Columns images, right and agrees, a row a round (see CellResult).
        victim_accuracy: The victim's, on the same images.
    """
    told = (tuple(hits["right"]), tuple(hits["agrees"]))
    return dict(_crossings(int(hits["images"].iloc[0]), *told, victim_accuracy))


@lru_cache(maxsize=64)
def _crossings(
    images: int, right_bits: tuple[bytes, ...], agrees_bits: tuple[bytes, ...], victim_accuracy: float
) -> Mapping[str, np.ndarray]:
    """See `crossings`; cells that share an extraction share them too."""
    right, agrees = (unpacked(bits, images).astype(np.float32) for bits in (right_bits, agrees_bits))
    drawn = _drawn(images)
    full = {"accuracy": victims_hits(right, agrees, victim_accuracy) @ drawn, "fidelity": np.ones(1)}
    reached = {"accuracy": right @ drawn, "fidelity": agrees @ drawn}
    found = {}
    for goal, (figure, share) in GOALS.items():
        is_enough = reached[figure] >= share / 100 * full[figure] - ROUNDING
        found[goal] = np.where(is_enough.any(0), is_enough.argmax(0), -1)
    return found


def victims_hits(right: np.ndarray, agrees: np.ndarray, accuracy: float) -> np.ndarray:
    """Which images the victim gets right, float32 `[images]`, by the rounds' `[rounds, images]`.

    Who is right and agrees shows that the victim is right; who is either alone, that it is not. What nobody
    shows of an image is left to its accuracy: all such images are alike to every round.
    """
    is_right: np.ndarray = np.any((right > 0) & (agrees > 0), axis=0)
    is_unknown: np.ndarray = np.all((right == 0) & (agrees == 0), axis=0)
    missing = round(accuracy * len(is_right)) - int(is_right.sum())
    is_right[np.flatnonzero(is_unknown)[: max(missing, 0)]] = True
    return is_right.astype(np.float32)


def _logs(curve: pd.DataFrame, rounds: np.ndarray, column: str) -> np.ndarray | None:
    """Logarithms of a bill at these rounds, +inf for round -1; None where there is no bill, or none of it."""
    column = column if column in curve else OWN_COLUMN.get(column, column)
    if column not in curve:
        return None
    values = curve[column].to_numpy(dtype=np.float64)
    if not (values > 0).all():
        return None
    return np.where(rounds < 0, np.inf, np.log(values)[rounds])


def log_half_widths(rows: pd.DataFrame, by: Sequence[str], index: pd.Index[Any], name: str) -> pd.DataFrame:
    """What test images bring about in a price's geometric mean, a row a group of rows.

    Columns: `half`, how far the logarithm is from that of the farther end of the interval: rounds are found
    too early rather than too late, with the images at hand as in replicates, so that both sides have the
    wider one. `is_open`, whether a seed falls short in more replicates than the interval leaves out. NaN, and
    false, where rows do not tell.
    """
    told = [_of_group(rows["replicates"].iloc[at], name) for at in places_of(rows, by)]
    return pd.DataFrame(told, index=index, columns=["half", "is_open"])


def _of_group(replicates: pd.Series[Any], name: str) -> tuple[float, bool]:
    logs = [own.get(name) if isinstance(own, dict) else None for own in replicates]
    known = [it for it in logs if it is not None]
    if len(known) < len(logs):
        return float("nan"), False
    seen, *drawn = np.mean(known, axis=0)
    reached = np.array(drawn)[np.isfinite(drawn)]
    if not np.isfinite(seen) or not len(reached):
        return float("nan"), False
    low, high = np.quantile(reached, [TAIL, 1 - TAIL])
    return float(max(seen - low, high - seen)), len(reached) < (1 - TAIL) * len(drawn)
