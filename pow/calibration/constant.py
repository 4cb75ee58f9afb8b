"""The same work for every request: proof of work without calibration, the control of the experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pow.calibration.base import Calibration
from storage.identity import stable_id


@stable_id("calibration/constant")
@dataclass(frozen=True)
class ConstantCalibration(Calibration):
    """strength * each seconds a request, whatever it reveals; see Calibration."""

    name: ClassVar[str] = "constant"

    each: float = 0.46

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.each > 0, "each", "above 0 seconds a request")

    def schedule(self, deviation: np.ndarray) -> np.ndarray:
        """The same for each deviation."""
        return np.full(np.shape(deviation), self.each)
