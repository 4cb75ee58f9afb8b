"""How a gate's accounts have used it, and a calibration that is fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pow.calibration.progressive import ProgressiveCalibration
from pow.fitting import fit_to_accounts
from pow.pricing import composed_groups, make_pricing

COLUMNS = ("queries", "gain")
"""Columns of a log of totals that a fit needs."""


def read_totals(path: Path) -> pd.DataFrame:
    """Read the totals of accounts that have asked: a CSV with columns queries and gain, a line an account.

    Raises ValueError naming the file and what is wrong with it.
    """
    totals = pd.read_csv(path)
    if missing := [name for name in COLUMNS if name not in totals]:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(totals.columns)}")
    for name in COLUMNS:
        values = pd.to_numeric(totals[name], errors="coerce")
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"{path}: column {name} must hold numbers of at least 0")
        totals[name] = values
    return totals[totals["queries"] > 0]


def calibrate_to_usage(log: Path, dataset: str, overrides: Sequence[str], seed: int) -> list[str]:
    """Fit allowance and steepness to the accounts of a gate.

    Args:
        log: Their totals; see read_totals.
        dataset: A file of conf/dataset, which says what a request takes.
        overrides: Of the config, such as `pow_calibration.within_allowance=0.8`.
        seed: Of the resampling of accounts.

    Returns:
        The options that give a gate the fitted calibration, and what they mean for these accounts.

    Raises:
        ValueError, OSError: naming what cannot be fitted to.
        HydraException: for an override that the config does not take.
    """
    totals = read_totals(log)
    config = composed_groups([f"dataset={dataset}", "pow_calibration=progressive", *overrides])
    pricing = make_pricing(config)
    unfitted = pricing.unexpected
    assert isinstance(unfitted, ProgressiveCalibration) and pricing.terms is not None
    gains, queries = totals["gain"].to_numpy(), totals["queries"].to_numpy()
    fitted = fit_to_accounts(unfitted, gains, queries, pricing.terms, seed)
    overhead = 1 + fitted.potential(gains) / (queries * fitted.own_seconds)
    options = [f"pow_calibration.{name}={getattr(fitted, name):.6g}" for name in ("allowance", "steepness")]
    held = [
        f"{100 * (overhead < bound.overhead).mean():.1f} % of {len(gains)} accounts stay below an overhead "
        f"of {bound.overhead:g} (asked for: {100 * bound.users:g} %)"
        for bound in pricing.terms.bounds
    ]
    return [" ".join(options), *held]
