"""The constant calibration charges every request the same: the control without calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pow.calibration.base import LineCalibration
from storage.identity import stable_id
from storage.typed import Positive


@stable_id("calibration/constant")
@dataclass(frozen=True)
class ConstantCalibration(LineCalibration):
    """Charges strength * each seconds per request, whatever it reveals; see LineCalibration."""

    name: ClassVar[str] = "constant"

    each: Positive = 0.46

    def schedule(self, deviation: np.ndarray) -> np.ndarray:
        """Return `each` seconds for every deviation, float64 `[m]`."""
        return np.full(np.shape(deviation), self.each)
