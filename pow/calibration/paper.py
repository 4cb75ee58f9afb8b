"""The calibration of "Increasing the Cost of Model Extraction with Calibrated Proof of Work" (ICLR 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pow.calibration.expectation import LinearExpectation


@dataclass(frozen=True)
class PaperCalibration:
    """strength * base ** |cost - expected| seconds a request, between `floor` and `cap`.

    `sided` two charges users below the expectation like those above it; one charges them the least.
    `request_size` queries are charged together; bits = bits_slope * log10(seconds) + bits_intercept.
    Raises ValueError naming the option for values that make no sense.
    """

    expected: LinearExpectation
    base: float = 1.0075
    strength: float = 1.0
    sided: Literal["one", "two"] = "two"
    floor: float = 0.1
    cap: float = 2948.467908
    request_size: int = 1000
    bits_slope: float = 3.5142903
    bits_intercept: float = 18.5317509

    def __post_init__(self) -> None:
        self._require(self.base > 1, "base", "above 1")
        self._require(self.strength > 0, "strength", "above 0")
        self._require(self.sided in ("one", "two"), "sided", "one of one, two")
        self._require(self.floor > 0, "floor", "above 0 seconds")
        self._require(self.cap >= self.floor, "cap", f"at least the floor of {self.floor} seconds")
        self._require(
            isinstance(self.request_size, int) and self.request_size >= 1,
            "request_size",
            "a whole number of at least 1",
        )

    def _require(self, valid: bool, option: str, rule: str) -> None:
        if not valid:
            raise ValueError(f"pow_calibration.{option} must be {rule}, not {getattr(self, option)!r}")

    def seconds(self, cost: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Seconds of work of each request, float64 `[m]` (see Calibration)."""
        deviation = np.asarray(cost, dtype=np.float64) - self.expected(queries)
        deviation = np.abs(deviation) if self.sided == "two" else np.maximum(deviation, 0)
        # In logarithms: a thief's deviation may be far beyond what a float's power can hold.
        log_seconds = math.log(self.strength) + deviation * math.log(self.base)
        log_seconds = np.clip(log_seconds, math.log(self.floor) - 1, math.log(self.cap) + 1)
        return np.clip(np.exp(log_seconds), self.floor, self.cap)

    def expected_hashes(self, seconds: np.ndarray) -> np.ndarray:
        """Expected hashes that took the authors' client so many seconds, float64 `[m]`."""
        return np.exp2(self.bits_slope * np.log10(seconds) + self.bits_intercept)
