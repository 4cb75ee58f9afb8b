"""How a gate's accounts have used it, and a calibration that is fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pow.calibration.progressive import ProgressiveCalibration
from pow.fitting import Bound, fit_to_accounts
from pow.pricing import composed_groups, make_pricing
from pow.shares import share_interval

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
        The options that give a gate the fitted calibration, and for whom its bounds hold (see _held).

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
    options = [f"pow_calibration.{name}={getattr(fitted, name):.6g}" for name in ("allowance", "steepness")]
    fit = partial(fit_to_accounts, unfitted, terms=pricing.terms, seed=seed)
    return [" ".join(options), *_held(fit, fitted, gains, queries, pricing.terms.bounds, seed)]


def _held(
    fit: Callable[[np.ndarray, np.ndarray], ProgressiveCalibration],
    fitted: ProgressiveCalibration,
    gains: np.ndarray,
    queries: np.ndarray,
    bounds: Sequence[Bound],
    seed: int,
) -> list[str]:
    """A sentence for each bound: of how many accounts it holds that were not fitted to.

    Half of them are fitted to for that alone, and the others are told of. Where half cannot be fitted to,
    few as they are, it is the accounts that were fitted to, and the sentence says so.
    """
    who = f"the {len(gains)} accounts that were fitted to"
    first, second = np.array_split(np.random.default_rng(seed).permutation(len(gains)), 2)
    with suppress(ValueError):
        fitted = fit(gains[first], queries[first])
        gains, queries = gains[second], queries[second]
        who = f"{len(gains)} accounts, by a fit to the other {len(first)},"
    overhead = 1 + fitted.potential(gains) / (queries * fitted.own_seconds)
    sentences = []
    for bound in bounds:
        below = int((overhead < bound.overhead).sum())
        low, high = share_interval(below, len(overhead))
        share = f"{100 * below / len(overhead):.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        asked = f"(asked for: {100 * bound.users:g} %)"
        sentences.append(f"{share} of {who} stay below an overhead of {bound.overhead:g} {asked}")
    return sentences
