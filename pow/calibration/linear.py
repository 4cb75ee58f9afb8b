"""The linear calibration charges in proportion to what an account reveals beyond the expectation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pow.calibration.base import LineCalibration
from storage.identity import stable_id
from storage.typed import Positive


@stable_id("calibration/linear")
@dataclass(frozen=True)
class LinearCalibration(LineCalibration):
    """Charges strength * slope * (cost - expected) seconds per request; see LineCalibration.

    It is the mildest schedule that separates attackers from users: their bill grows with the square of their
    queries.
    """

    name: ClassVar[str] = "linear"

    slope: Positive = 0.01

    def schedule(self, deviation: np.ndarray) -> np.ndarray:
        """Return slope * deviation in seconds, float64 `[m]`."""
        return self.slope * deviation
