"""What every calibration is: seconds of work for what an account has revealed, or has gained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from pow.calibration.expectation import LinearExpectation
from pow.honest_users import Cumulative
from storage.typed import Count, Positive, check_declared

REQUEST_QUERIES = 64
"""Queries in a request of the latency profile (`dataset.request_seconds`)."""


class NotFitted(ValueError):
    """No calibration keeps what is asked of it for these honest users."""


@dataclass(frozen=True, kw_only=True)
class Calibration(ABC):
    """Prices requests of at most `request_size` queries by the payer's totals before and after each.

    The reference client solves `reference_rate` hashes a second. Raises ValueError naming the option for
    values that make no sense.

    Args:
        strength: Multiplies the seconds.
        cap: Most seconds of a request; what exactly is capped, each calibration says.
        request_size: Most queries in a request.
        reference_rate: Hashes a second of the client that the seconds are meant for.
    """

    name: ClassVar[str]
    """What results and tables call it."""

    own_client: ClassVar[bool] = False
    """Whether hashes are those of its authors' own client, so that `reference_rate` says nothing."""

    carries: ClassVar[bool] = False
    """Whether hashes that a puzzle's rounding leaves are owed by the next request, so that none is lost."""

    strength: Positive = 1.0
    cap: Positive = 3600.0
    request_size: Count = 64
    reference_rate: Positive = 2.3e6

    def __post_init__(self) -> None:
        check_declared(self, "pow_calibration")

    def _require(self, valid: bool, option: str, rule: str) -> None:
        if not valid:
            raise ValueError(f"pow_calibration.{option} must be {rule}, not {getattr(self, option)!r}")

    @abstractmethod
    def charged_total(self, cost: Cumulative) -> Cumulative:
        """Return what adds up one payer's rows of a trace to the totals that are charged.

        `cost` adds up the privacy measure of the defense.
        """

    @abstractmethod
    def charged(
        self, before: np.ndarray, after: np.ndarray, queries: np.ndarray, is_last: np.ndarray
    ) -> np.ndarray:
        """Seconds of work for each query, float64 `[n]`; those of a request are its queries' together.

        Args:
            before: The payer's total before the query, float64 `[n]`: its cumulative privacy cost, or its
                gain, whichever the calibration charges.
            after: The same with the query included, float64 `[n]`.
            queries: The payer's queries with this one included, `[n]`.
            is_last: Whether the query is the last of its request, bool `[n]`.
        """

    def expected_hashes(self, seconds: np.ndarray) -> np.ndarray:
        """Expected hashes that take the reference client so many seconds, float64 `[m]`."""
        return np.asarray(seconds, dtype=np.float64) * self.reference_rate


@dataclass(frozen=True)
class LineCalibration(Calibration):
    """Charges each request for how far the payer's cumulative cost lies from an honest user's.

    The unit is the request: the same queries cut into more requests are charged more often, and cheap queries
    between dear ones bring the distance down. `sided` two charges users below the expectation like those
    above it; one charges them as if they were at it. Seconds stay between `floor` and `cap`.
    """

    expected: LinearExpectation
    sided: Literal["one", "two"] = "one"
    floor: Positive = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.cap >= self.floor, "cap", f"at least the floor of {self.floor} seconds")

    def deviation(self, cost: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """What is charged of an account's cumulative cost: its distance from the expectation, at least 0."""
        distance = np.asarray(cost, dtype=np.float64) - self.expected(queries)
        return np.abs(distance) if self.sided == "two" else np.maximum(distance, 0)

    def charged_total(self, cost: Cumulative) -> Cumulative:
        """See Calibration: the cumulative cost itself."""
        return cost

    def charged(
        self, before: np.ndarray, after: np.ndarray, queries: np.ndarray, is_last: np.ndarray
    ) -> np.ndarray:
        """See Calibration; a request is charged as a whole, with its last query."""
        seconds = np.zeros(len(after))
        seconds[is_last] = self.seconds(after[is_last], queries[is_last])
        return seconds

    def seconds(self, cost: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Seconds of work for each request, float64 `[m]`.

        cost and queries `[m]` are the account's cumulative ones with the request included.
        """
        return self.bounded(self.schedule(self.deviation(cost, queries)))

    def bounded(self, seconds: np.ndarray) -> np.ndarray:
        """The schedule's seconds times the strength, between floor and cap."""
        return np.clip(self.strength * seconds, self.floor, self.cap)

    @abstractmethod
    def schedule(self, deviation: np.ndarray) -> np.ndarray:
        """Seconds at strength 1 for each deviation, float64 `[m]`, before floor and cap; finite."""


LARGEST_EXPONENT = 600.0
"""An attacker's deviation may be far beyond what a float's power can hold; this one exceeds every cap."""


def power(base: float, exponent: np.ndarray) -> np.ndarray:
    """base ** exponent, never infinite."""
    return np.exp(np.minimum(np.asarray(exponent) * np.log(base), LARGEST_EXPONENT))
