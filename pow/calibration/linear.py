"""Seconds in proportion to what an account has revealed beyond the expectation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pow.calibration.base import Calibration
from storage.identity import stable_id


@stable_id("calibration/linear")
@dataclass(frozen=True)
class LinearCalibration(Calibration):
    """strength * slope * (cost - expected) seconds a request; see Calibration.

    The mildest schedule that still tells attackers from users: the bill grows with the square of the queries.
    """

    name: ClassVar[str] = "linear"

    slope: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.slope > 0, "slope", "above 0 seconds for a unit of cost")

    def schedule(self, deviation: np.ndarray) -> np.ndarray:
        """Slope times each deviation."""
        return self.slope * deviation
