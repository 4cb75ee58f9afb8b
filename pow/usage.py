"""How a gate's accounts have used it, and a calibration that is fitted to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pow.calibration.progressive import ProgressiveCalibration
from pow.fitting import FEWEST_ACCOUNTS, STEEPEST, Bound, Terms, fit_to_accounts
from pow.pricing import composed_groups, make_pricing
from pow.shares import share_interval

COLUMNS = ("queries", "gain")
"""Columns of a log of totals that a fit needs."""

MOST = 1e15
"""More queries, or a larger gain, than this no account can have."""

FEW = 0.1
"""A share of the accounts that should not decide a fit for all."""

APART = 3.0
"""So many times as much as the next account has gained who stands apart from it."""

DECIDING = 3.0
"""A fit is decided by those who stand apart where it is so many times steeper without them."""


def read_totals(path: Path) -> pd.DataFrame:
    """Read the totals of accounts that have asked: a CSV with columns queries and gain, a line an account.

    Those that a column `disabled` marks by 1 are left out. Raises ValueError naming the file and what is
    wrong with it.
    """
    totals = pd.read_csv(path)
    if missing := [name for name in COLUMNS if name not in totals]:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(totals.columns)}")
    for name in COLUMNS:
        values = pd.to_numeric(totals[name], errors="coerce")
        if not ((values >= 0) & (values <= MOST)).all():
            raise ValueError(f"{path}: column {name} must hold numbers from 0 to {MOST:g}")
        totals[name] = values
    asked = totals["queries"] > 0
    return totals[asked & (totals["disabled"] != 1)] if "disabled" in totals else totals[asked]


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
    if not isinstance(unfitted, ProgressiveCalibration) or pricing.terms is None:
        raise ValueError(f"pow_calibration={unfitted.name}: only progressive is fitted to accounts")
    fit = partial(_fit, unfitted, pricing.terms, seed)
    gains, queries = totals["gain"].to_numpy(), totals["queries"].to_numpy()
    apart = _apart(totals)
    without = _without(fit, totals, apart)
    try:
        fitted = fit(gains, queries)
    except ValueError as error:
        if without is None:
            raise
        raise ValueError(f"{error}. And {_named(apart)} there is a fit") from error
    options = [f"pow_calibration.{name}={getattr(fitted, name):.6g}" for name in ("allowance", "steepness")]
    lines = [" ".join(options), *_held(fit, fitted, gains, queries, pricing.terms.bounds, seed)]
    if without is not None and without.steepness > DECIDING * fitted.steepness:
        lines.append(f"{_named(apart)} the steepness would be {without.steepness:.3g}")
    return lines


Fit = Callable[[np.ndarray, np.ndarray], ProgressiveCalibration]
"""Fits to accounts' gains and queries; raises ValueError."""


def _fit(
    unfitted: ProgressiveCalibration, terms: Terms, seed: int, gains: np.ndarray, queries: np.ndarray
) -> ProgressiveCalibration:
    if not gains.any():
        raise ValueError("no account has gained anything, so there is nothing to fit to")
    fitted = fit_to_accounts(unfitted, gains, queries, terms, seed)
    if fitted.steepness >= STEEPEST:
        raise ValueError(
            f"nearly no account has gained more than the allowance, {fitted.allowance:g}, so any steepness "
            "would do: these accounts are too much alike to fit to"
        )
    return fitted


def _apart(totals: pd.DataFrame) -> pd.DataFrame:
    """The accounts that stand apart from all others, by what they gained or by what they gained a query."""
    most = min(math.ceil(FEW * len(totals)), len(totals) - FEWEST_ACCOUNTS)
    each = totals["gain"] / totals["queries"]
    rows = [row for values in (totals["gain"], each) for row in _above_a_gap(values, most)]
    return totals.loc[list(dict.fromkeys(rows))[: max(most, 0)]]


def _above_a_gap(values: pd.Series[float], most: int) -> list[Any]:
    """Labels of the values above the widest gap, first the largest; at most so many, and none without one.

    A gap is the ratio of neighbours in their order, and has to be wide (APART).
    """
    if most < 1:
        return []
    ordered = values.sort_values(ascending=False, kind="stable")
    few = np.maximum(ordered.to_numpy()[: most + 1], np.finfo(float).tiny)
    ratios = few[:-1] / few[1:]
    widest = int(ratios.argmax())
    return list(ordered.index[: widest + 1]) if ratios[widest] > APART else []


def _without(fit: Fit, totals: pd.DataFrame, apart: pd.DataFrame) -> ProgressiveCalibration | None:
    """The fit without the accounts that stand apart; None where there are none, or is none."""
    others = totals.drop(apart.index)
    with suppress(ValueError):
        return fit(others["gain"].to_numpy(), others["queries"].to_numpy()) if len(apart) else None
    return None


def _named(apart: pd.DataFrame) -> str:
    """Who stands apart, as the beginning of a sentence about a fit without them."""
    names = apart["account"] if "account" in apart else apart.index.map(lambda row: f"of line {row + 2}")
    said = ", ".join(map(str, names[:5])) + (", ..." if len(apart) > 5 else "")
    who = f"the account {said} has" if len(apart) == 1 else f"{len(apart)} accounts ({said}) have"
    them = "it" if len(apart) == 1 else "them"
    return f"{who} gained far more than all others; leave out who is no honest user. Without {them}"


def _held(
    fit: Fit,
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
