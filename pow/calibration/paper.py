"""The calibration of "Increasing the Cost of Model Extraction with Calibrated Proof of Work" (ICLR 2022)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np

from pow.calibration.base import LineCalibration, power
from storage.identity import stable_id
from storage.typed import Bounds, Count, Finite, Positive


@stable_id("calibration/paper")
@dataclass(frozen=True)
class PaperCalibration(LineCalibration):
    """Charges strength * base ** |cost - expected| seconds per request of 1,000 queries, within its bounds.

    Hashes follow the authors' measurement of their client: bits = bits_slope * log10(seconds) +
    bits_intercept. See LineCalibration for the other options.
    """

    name: ClassVar[str] = "paper"
    own_client: ClassVar[bool] = True

    base: Annotated[float, Bounds(1, above=True)] = 1.0075
    sided: Literal["one", "two"] = "two"
    floor: Positive = 0.1
    cap: Positive = field(default=2948.467908, kw_only=True)
    request_size: Count = field(default=1000, kw_only=True)
    bits_slope: Finite = 3.5142903
    bits_intercept: Finite = 18.5317509

    def schedule(self, deviation: np.ndarray) -> np.ndarray:
        """Return base ** deviation in seconds, float64 `[m]`."""
        return power(self.base, deviation)

    def expected_hashes(self, seconds: np.ndarray) -> np.ndarray:
        """Return the expected hashes that took the authors' client so many seconds, float64 `[m]`."""
        return np.exp2(self.bits_slope * np.log10(seconds) + self.bits_intercept)
