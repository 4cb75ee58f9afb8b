"""The progressive calibration charges by a potential, so no cut and no padding lowers a bill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np

from pow.calibration.base import REQUEST_QUERIES, Calibration
from pow.gains import Gain, Gains
from pow.honest_users import Cumulative
from storage.identity import stable_id
from storage.typed import Bounds, NonNegative, Positive

SECONDS_A_DAY = 86400.0


@stable_id("calibration/progressive")
@dataclass(frozen=True)
class ProgressiveCalibration(Calibration):
    """Charges T(after) - T(before), where T is a convex, rising function of what the payer has gained.

    With g the gain over the allowance G0, and t the own time of a query,

        T = strength * t * (share * gain + steepness * G0 * max(0, g - 1) ** exponent),

    which goes on in a straight line from where 64 honest queries' worth of gain costs `cap` seconds. So the
    bill depends on what was asked and not on how it was cut into requests, and a query that is added to it,
    whatever it is, makes no other query cheaper.

    Args:
        gains: What counts, by name; see pow.gains.
        request_seconds: Seconds of a request of 64 queries without work.
        share: Work below the allowance, as a share of a query's own time.
        exponent: p, above 1; at 2 a bill of twice the gain is about four times as high.
        allowance: G0, in honest queries.
        steepness: What `share` becomes, and more, beyond the allowance; 0 charges in proportion.
        recovery_days: Days in which a payer who asks nothing is forgiven one allowance; None: never.
    """

    name: ClassVar[str] = "progressive"
    carries: ClassVar[bool] = True

    gains: Mapping[str, Gain]
    request_seconds: Positive = 0.46
    share: Positive = 0.1
    exponent: Annotated[float, Bounds(1, 10, above=True)] = 2.0
    allowance: Positive = 100.0
    steepness: NonNegative = 0.0
    recovery_days: Positive | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.total  # refused where there is no gain

    @cached_property
    def total(self) -> Gains:
        """All gains, which add up."""
        return Gains(self.gains)

    @property
    def own_seconds(self) -> float:
        """Seconds of one query without work."""
        return self.request_seconds / REQUEST_QUERIES

    @cached_property
    def capped_at(self) -> float:
        """The gain from which on T is a straight line; infinite where the cap is never reached."""
        most = self.cap / (self.strength * self.request_seconds) - self.share
        if most <= 0:
            return 0.0
        rise = self.steepness * self.exponent
        if not rise:
            return np.inf
        with np.errstate(over="ignore"):  # near an exponent of 1 the cap is never reached
            return float(self.allowance * (1 + np.float64(most / rise) ** (1 / (self.exponent - 1))))

    def potential(self, gain: np.ndarray) -> np.ndarray:
        """Return T in seconds, float64 `[m]`, for total gains `[m]` in honest queries."""
        total = np.asarray(gain, dtype=np.float64)
        curved = np.minimum(total, self.capped_at)
        beyond = np.maximum(curved / self.allowance - 1, 0)
        work = self.share * curved + self.steepness * self.allowance * beyond**self.exponent
        at_cap = (total - curved) * (self.cap / REQUEST_QUERIES)
        return self.strength * self.own_seconds * work + at_cap

    def charged_total(self, cost: Cumulative) -> Cumulative:
        """See Calibration: the total gain, whatever the defense measures."""
        return self.total.cumulative

    def charged(
        self, before: np.ndarray, after: np.ndarray, queries: np.ndarray, is_last: np.ndarray
    ) -> np.ndarray:
        """See Calibration; the totals are gains, and each query is charged by itself."""
        return self.potential(after) - self.potential(before)

    def share_at_cap(self, gain: np.ndarray) -> np.ndarray:
        """Return the share of the bill for gains `[m]` that was charged at the cap, float64 `[m]`."""
        total = np.asarray(gain, dtype=np.float64)
        at_cap = np.maximum(total - self.capped_at, 0) * (self.cap / REQUEST_QUERIES)
        return at_cap / np.maximum(self.potential(total), np.finfo(np.float64).tiny)

    def recovered(self, gain: float, seconds: float) -> float:
        """Return what is left of a gain after so many seconds without a query."""
        if self.recovery_days is None:
            return gain
        return max(0.0, gain - self.allowance * seconds / (self.recovery_days * SECONDS_A_DAY))
