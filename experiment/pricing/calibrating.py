"""From a toll's options to a calibration for this very victim, by what its honest users cost."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiment.artifacts.honest_users import HonestCosts
from experiment.defense_stack import Toll
from experiment.pricing.curve import TraceAccounting
from pow.calibration import Calibration, LinearExpectation
from pow.calibration.fitted import FittedCalibration, Guarantee, fit_to_users

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibrated:
    """A calibration, and what it guarantees honest users where that was tested."""

    calibration: Calibration
    guarantee: Guarantee | None

    def figures(self) -> dict[str, Any]:
        """For a cell's result: the expectation, and what was fitted."""
        found: dict[str, Any] = {"expected_cost": asdict(self.calibration.expected)}
        if isinstance(self.calibration, FittedCalibration) and self.guarantee:
            found["fitted"] = {"base": self.calibration.base, "held_out": asdict(self.guarantee)}
        return found


def calibrate(toll: Toll, honest: HonestCosts, accounting: TraceAccounting, seed: int) -> Calibrated:
    """The toll's calibration: to the published expectation, to the one measured here, or to honest users.

    The one measured here is that of a user who asks about the honest users' clean images in their order.
    """
    if toll.pricing.users is not None:
        return _fitted(toll, honest.get(), accounting, seed)
    expected = toll.expected
    if expected is None:
        trace = honest.clean()
        cost = accounting.cumulative(trace, toll.cost)
        expected = LinearExpectation.fit(np.arange(1, len(trace) + 1), cost)
    log.info(
        "an honest user is expected to cost %.6g a query, and %.6g at the start",
        expected.slope,
        expected.intercept,
    )
    return Calibrated(toll.pricing.calibration(expected=expected), None)


def _fitted(toll: Toll, priced: pd.DataFrame, accounting: TraceAccounting, seed: int) -> Calibrated:
    unfitted = toll.pricing.calibration(expected=LinearExpectation(0.0, 0.0))
    assert isinstance(unfitted, FittedCalibration) and toll.pricing.users is not None
    calibration, guarantee = fit_to_users(
        unfitted, toll.pricing.users, priced, lambda rows: accounting.cumulative(rows, toll.cost), seed
    )
    log.info("%s", guarantee.sentence(calibration))
    return Calibrated(calibration, guarantee)
