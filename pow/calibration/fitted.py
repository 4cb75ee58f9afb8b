"""The fitted calibration is the steepest exponential that simulated honest users can afford.

No attack is used to fit it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy.special import bdtr

from pow.calibration.base import REQUEST_QUERIES, LineCalibration, NotFitted, power
from pow.calibration.expectation import LinearExpectation
from pow.honest_users import Cumulative, HonestUsers, halves
from pow.shares import share_interval
from storage.identity import stable_id
from storage.typed import Bounds, Part, Positive

CONFIDENCE = 0.95
"""Confidence that the stated share of all such users, not only of those fitted to, stays below the bound."""

STEEPEST_LOG_BASE = 50.0
"""Largest log base that is tried: with it a deviation of 1 already costs more than any cap."""


@dataclass(frozen=True)
class Guarantee:
    """What held for users who were not fitted to.

    Args:
        users: Number of these users.
        share: Share of them whose overhead is below the bound.
        low: Lower end of the share's exact 95 % interval (Clopper and Pearson 1934).
        high: Upper end of that interval.
        quantile: Overhead at the calibration's quantile of users.
    """

    users: int
    share: float
    low: float
    high: float
    quantile: float

    def is_broken(self, calibration: FittedCalibration) -> bool:
        """Return whether fewer users than promised stay below the bound, even at the interval's upper end."""
        return self.high < calibration.quantile

    def sentence(self, calibration: FittedCalibration) -> str:
        """Return the guarantee as a sentence for the log."""
        share, low, high = (100 * value for value in (self.share, self.low, self.high))
        promised = (
            f", not {100 * calibration.quantile:g} % as promised" if self.is_broken(calibration) else ""
        )
        return (
            f"base {calibration.base:.6g}, fitted to {self.users} honest users; of as many on other images "
            f"{share:.1f} % ({low:.1f} to {high:.1f}, over users of just these) stay below an overhead of "
            f"{calibration.overhead:g}"
            f"{promised if self.is_broken(calibration) else ''}"
        )


@stable_id("calibration/fitted")
@dataclass(frozen=True)
class FittedCalibration(LineCalibration):
    """Charges strength * at_expectation * (seconds of the request itself) * base ** deviation.

    `fitted_to` finds the base; with base 1, the default, every request costs the same. LineCalibration has
    the other options.

    Args:
        request_seconds: Seconds of a request of 64 queries without work.
        at_expectation: Work at the expectation, as a share of the request's own seconds.
        overhead: Bound on an honest user's overhead: total seconds over seconds without work.
        quantile: Share of honest users who stay below that bound at strength 1.
        base: Factor by which work grows with each unit of deviation.
    """

    name: ClassVar[str] = "fitted"

    sided: Literal["one", "two"] = "two"
    request_seconds: Positive = 0.46
    at_expectation: Positive = 0.1
    overhead: Positive = 2.0
    quantile: Part = 0.95
    base: Annotated[float, Bounds(1)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        lowest = 1 + self.at_expectation
        self._require(self.overhead > lowest, "overhead", f"above {lowest:g}, 1 and at_expectation together")

    def schedule(self, deviation: np.ndarray) -> np.ndarray:
        """Return seconds at strength 1 for each deviation, float64 `[m]`."""
        own_time = self.request_seconds * self.request_size / REQUEST_QUERIES
        return self.at_expectation * own_time * power(self.base, deviation)

    def overheads(self, requests: pd.DataFrame) -> np.ndarray:
        """Return each user's seconds with work over those without, float64 `[users]`.

        `requests` are those of HonestUsers.requests.
        """
        seconds = self.seconds(requests["cost"].to_numpy(), requests["queries"].to_numpy())
        work = pd.Series(seconds).groupby(requests["user"].to_numpy()).sum()
        queries = requests.groupby("user")["queries"].last()
        return 1 + work.to_numpy() / (queries.to_numpy() / REQUEST_QUERIES * self.request_seconds)

    def fitted_to(self, requests: pd.DataFrame) -> FittedCalibration:
        """Return this calibration with the expectation and the largest base that the users can afford.

        A share `quantile` of all such users then stays below the bound with confidence 95 %. The base is
        rounded down.

        Args:
            requests: Requests of simulated users; see HonestUsers.requests.

        Raises:
            NotFitted: There are too few users, or even base 1 is too expensive for them.
        """
        expected = LinearExpectation.fit(requests["queries"].to_numpy(), requests["cost"].to_numpy())
        rank = self.rank_of(requests["user"].nunique())

        def holds(log_base: float) -> bool:
            tried = replace(self, expected=expected, strength=1.0, base=math.exp(log_base))
            return bool(np.sort(tried.overheads(requests))[rank - 1] < self.overhead)

        return replace(self, expected=expected, base=_rounded_down(math.exp(_largest(holds))))

    def rank_of(self, users: int) -> int:
        """Return how many of the users must stay below the bound, so that `quantile` of all such users do.

        The bound then holds with confidence 95 % for any distribution of overheads (Wilks 1941). Raises
        NotFitted where there are too few users for that.
        """
        rank = 1 + int(np.searchsorted(bdtr(np.arange(users + 1), users, self.quantile), CONFIDENCE))
        if rank > users:
            need = math.ceil(math.log(1 - CONFIDENCE) / math.log(self.quantile))
            share = f"for a share of {self.quantile:g}"
            raise NotFitted(f"pow_calibration.users.count must be at least {need} {share}, not {users}")
        return rank

    def guarantee(self, requests: pd.DataFrame) -> Guarantee:
        """Return what holds at strength 1 for the users of these requests (see HonestUsers.requests)."""
        overheads = np.sort(replace(self, strength=1.0).overheads(requests))
        users, below = len(overheads), int((overheads < self.overhead).sum())
        rank = min(math.ceil(users * self.quantile), users)
        low, high = share_interval(below, users)
        return Guarantee(
            users=users,
            share=below / users,
            low=low,
            high=high,
            quantile=float(overheads[rank - 1]),
        )


def fit_to_users(
    calibration: FittedCalibration,
    users: HonestUsers,
    priced: pd.DataFrame,
    cumulative: Cumulative,
    seed: int,
) -> tuple[FittedCalibration, Guarantee]:
    """Fit a calibration to users on half of the images, and test it on users on the other half.

    Args:
        calibration: Calibration to fit.
        users: Draws the users.
        priced: One row per image; see HonestUsers.requests.
        cumulative: Gives each row's cost together with all rows before it.
        seed: Seed of the split and of the users.

    Returns:
        The fitted calibration, and what held for the users on the other half.
    """
    random = np.random.default_rng(seed)
    fitting, held_out = halves(priced, random)
    size = calibration.request_size
    fitted = calibration.fitted_to(users.requests(fitting, cumulative, size, random, unseen_images=True))
    return fitted, fitted.guarantee(users.requests(held_out, cumulative, size, random, unseen_images=False))


def _largest(holds: Callable[[float], bool]) -> float:
    """Find by bisection the largest log base that holds, from below, to 1e-9."""
    if not holds(0.0):
        raise NotFitted(
            "pow_calibration.at_expectation and floor: at the expectation the overhead is exceeded already"
        )
    low, high = 0.0, STEEPEST_LOG_BASE
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _rounded_down(base: float) -> float:
    """Round base - 1 down to four significant digits, so that users pay no more than was fitted."""
    if base <= 1:
        return 1.0
    step = 10.0 ** (math.floor(math.log10(base - 1)) - 3)
    return 1 + math.floor((base - 1) / step) * step
