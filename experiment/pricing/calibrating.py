"""From a toll's options to a calibration for this very victim, by what its honest users cost."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiment.artifacts.fitted_toll import FittedToll
from experiment.artifacts.honest_users import HonestCosts, clean
from experiment.defense_stack import Toll
from experiment.pricing.curve import TraceAccounting
from pow.calibration import Calibration, LinearExpectation, NotFitted
from pow.calibration.fitted import FittedCalibration, fit_to_users
from pow.calibration.progressive import ProgressiveCalibration
from pow.fitting import broken_promise
from storage.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibrated:
    """A calibration, and for a cell's result what it was fitted to be."""

    calibration: Calibration
    figures: dict[str, Any]


def calibrate(toll: Toll, honest: HonestCosts, accounting: TraceAccounting, seed: int) -> Calibrated:
    """The toll's calibration: fitted to honest users, or to their expectation, published or measured here.

    The one measured here is that of a user who asks about clean images in their order, of the half that is
    for fitting. Raises InputError where none keeps what is asked of it for these users.
    """
    try:
        return _calibrated(toll, honest, accounting, seed)
    except NotFitted as error:
        raise InputError(str(error)) from error


def _calibrated(toll: Toll, honest: HonestCosts, accounting: TraceAccounting, seed: int) -> Calibrated:
    pricing, unfitted = toll.pricing, toll.pricing.unexpected
    if isinstance(unfitted, ProgressiveCalibration):
        assert pricing.terms is not None
        fitted, figures = FittedToll(honest.cell, honest, unfitted, pricing.population, pricing.terms).get()
        if sentence := broken_promise(figures["promise"]):
            log.warning("%s", sentence)
        return Calibrated(fitted, {"expected_cost": None, "fitted": figures})
    if isinstance(unfitted, FittedCalibration):
        return _fitted(toll, unfitted, honest.get(), accounting, seed)
    expected = toll.expected
    if expected is None:
        trace = clean(honest.fitting())
        cost = accounting.cumulative(trace, toll.cost)
        expected = LinearExpectation.fit(np.arange(1, len(trace) + 1), cost)
    log.info("%s", _in_words(expected))
    return Calibrated(toll.pricing.calibration(expected=expected), {"expected_cost": asdict(expected)})


def _in_words(expected: LinearExpectation) -> str:
    """What an honest user is expected to cost; a line that begins below 0 is told by where it crosses it."""
    each = f"an honest user is expected to cost {expected.slope:.6g} a query"
    if expected.intercept < 0 < expected.slope:
        return f"{each} beyond the first {-expected.intercept / expected.slope:.3g}"
    return f"{each}, and {expected.intercept:.6g} before the first"


def _fitted(
    toll: Toll, unfitted: FittedCalibration, priced: pd.DataFrame, accounting: TraceAccounting, seed: int
) -> Calibrated:
    assert toll.pricing.users is not None
    calibration, guarantee = fit_to_users(
        unfitted, toll.pricing.users, priced, lambda rows: accounting.cumulative(rows, toll.cost), seed
    )
    level = logging.WARNING if guarantee.is_broken(calibration) else logging.INFO
    log.log(level, "%s", guarantee.sentence(calibration))
    found = {"base": calibration.base, "held_out": asdict(guarantee)}
    return Calibrated(calibration, {"expected_cost": asdict(calibration.expected), "fitted": found})
