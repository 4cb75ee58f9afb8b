"""The sampling of test images: what other images would change in a share of those that all seeds share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

ADDED = (1, 1, 0, 0)
"""Imagined images, right or wrong for every seed, that count beside the test images (Agresti and Coull 1998):
without them a model that gets all images right would seem to be sure of all others."""

ADDED_PAIRS = (1, -1)
"""The same of a difference: one image that only this model gets right, one that only the other does (Bonett
and Price 2012)."""

ON_TEST_IMAGES = {
    "accuracy": ("right", None),
    "fidelity": ("agrees", None),
    "accuracy_change": ("right", "right_undefended"),
}
"""Figures that are shares of test images, the column that holds a bit for each, and another's bits that are
subtracted."""


def image_errors(rows: pd.DataFrame, by: Sequence[str], index: pd.Index[Any], name: str) -> pd.Series[float]:
    """Standard errors of the seeds' means of one of ON_TEST_IMAGES by their images, a row a group of rows.

    NaN where the rows do not tell which images were right, or seeds do not share them.
    """
    own, other = ON_TEST_IMAGES[name]
    needed = [it for it in (own, other) if it]
    if not {"images", *needed} <= set(rows):
        return pd.Series(np.nan, index=index)
    columns = [rows[it].to_numpy() for it in needed]
    images = rows["images"].to_numpy()
    errors = [_of_group([it[at] for it in columns], images[at]) for at in places_of(rows, by)]
    return pd.Series(errors, index=index)


def places_of(rows: pd.DataFrame, by: Sequence[str]) -> list[np.ndarray]:
    """Numbers of the rows of each group, in the order of the groups' first rows."""
    number = rows.groupby(list(by), sort=False).ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    order = order[number[order] >= 0]  # a group without a name is none
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1)


def _of_group(columns: Sequence[np.ndarray], images: np.ndarray) -> float:
    columns = [columns[0], *(_or_the_same(column, columns[0]) for column in columns[1:])]
    is_told = all(isinstance(bits, bytes) for column in columns for bits in column)
    if not is_told or len(set(images)) > 1:
        return float("nan")
    own, *others = (unpacked(column, int(images[0])) for column in columns)
    if not others:
        return standard_error(own)
    return standard_error(own - others[0], ADDED_PAIRS)


def _or_the_same(others: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Bits with a seed's own where there are none, as its model is the same; none where no seed has any."""
    has_bits = np.array([isinstance(bits, bytes) for bits in others])
    return np.where(has_bits, others, own) if has_bits.any() else others


def standard_error(hits: np.ndarray, added: Sequence[int] = ADDED) -> float:
    """Standard error by images of the mean of hits, or of their differences, float64 `[seeds, images]`."""
    imagined = np.broadcast_to(np.asarray(added, np.float64), (len(hits), len(added)))
    hits = np.concatenate([hits, imagined], axis=1)
    variance = hits.mean(0).var(ddof=1)
    if len(hits) > 1:  # by how much single seeds err on single images is in what seeds vary by
        variance = max(variance - hits.var(0, ddof=1).mean() / len(hits), 0.0)
    return float(np.sqrt(variance / hits.shape[1]))


def share_error(share: pd.Series[float], images: pd.Series[float]) -> pd.Series[float]:
    """Standard error of a share of so many images, of which nobody tells which ones they are.

    It is taken that all seeds fail at the same ones, which is no less than what the sampling brings.
    """
    counted = images + len(ADDED)
    shrunk = (share * images + sum(ADDED)) / counted
    return (shrunk * (1 - shrunk) / counted) ** 0.5


def unpacked(column: Iterable[bytes], images: int) -> np.ndarray:
    """Which test images were right, a row a seed, float64 `[seeds, images]`."""
    bits = np.stack([np.frombuffer(packed, np.uint8) for packed in column])
    return np.unpackbits(bits, axis=1, count=images).astype(np.float64)
