"""Which of two stolen models is the more accurate: by the same seeds and the same test images."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from sweeps.report.sampling.images import ADDED_PAIRS, standard_error, unpacked


def told_apart(one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float]:
    """Tell which is more accurate: sign of the first's accuracy less the other's, 0 where it may be chance.

    The first sign is by the 95 % interval of the differences of seeds that both have, with the sampling of
    the test images that both were measured on; the second by that of test images alone, since few seeds can
    tell little apart, which is not equality. Where there is no interval, for want of seeds and images, it is
    the sign of the difference of the means.

    Args:
        one: A row a seed, with columns seed, accuracy and, where they are known, images and right.
        other: The same under another defense.
    """
    both = one.merge(other, on="seed", suffixes=("", "_other"))
    if both.empty:
        return (float(np.sign(one["accuracy"].mean() - other["accuracy"].mean())),) * 2
    differences = (both["accuracy"] - both["accuracy_other"]).to_numpy(dtype=np.float64)
    of_seeds, of_images, mean = _of_seeds(differences), _of_images(both), float(differences.mean())
    return _sign(mean, float(np.hypot(of_seeds, of_images))), _sign(mean, of_images)


def _sign(mean: float, half: float) -> float:
    return float(np.sign(mean)) if abs(mean) > half else 0.0


def _of_seeds(differences: np.ndarray) -> float:
    """Half of Student's interval; 0 for a single seed."""
    seeds = len(differences)
    if seeds == 1:
        return 0.0
    return float(stdtrit(seeds - 1, 0.975) * differences.std(ddof=1) / np.sqrt(seeds))


def _of_images(both: pd.DataFrame) -> float:
    """Half of the interval by test images; 0 where nobody tells which were right."""
    if not {"right", "right_other", "images", "images_other"} <= set(both):
        return 0.0
    images = {*both["images"], *both["images_other"]}
    if len(images) > 1 or both[["images", "right", "right_other"]].isna().any(axis=None):
        return 0.0
    hits = [unpacked(both[name], int(min(images))) for name in ("right", "right_other")]
    return float(ndtri(0.975)) * standard_error(hits[0] - hits[1], ADDED_PAIRS)
