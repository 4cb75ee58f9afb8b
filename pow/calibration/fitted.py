"""The steepest exponential that honest users can bear, found on simulated ones; it sees no attack."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from scipy.special import bdtr, betaincinv

from pow.calibration.base import REQUEST_QUERIES, Calibration, power
from pow.calibration.expectation import LinearExpectation
from pow.honest_users import Cumulative, HonestUsers, halves
from storage.identity import stable_id

CONFIDENCE = 0.95
"""That the stated share of users, and not only of those fitted to, stays below the bound."""

STEEPEST_LOG_BASE = 50.0
"""Beyond it a deviation of one already costs more than any cap."""


@dataclass(frozen=True)
class Guarantee:
    """What held for users who were not fitted to.

    users: how many; share: of them below the bound, with the exact 95 % interval of Clopper and Pearson
    (1934) from `low` to `high`; quantile: the overhead at the stated share of users.
    """

    users: int
    share: float
    low: float
    high: float
    quantile: float

    def sentence(self, calibration: FittedCalibration) -> str:
        """What a person reads of it."""
        share, low, high = (100 * value for value in (self.share, self.low, self.high))
        return (
            f"base {calibration.base:.6g}, fitted to {self.users} honest users; of as many on other images "
            f"{share:.1f} % ({low:.1f} to {high:.1f}) stay below an overhead of {calibration.overhead:g}"
        )


@stable_id("calibration/fitted")
@dataclass(frozen=True)
class FittedCalibration(Calibration):
    """strength * at_expectation * (seconds of the request itself) * base ** deviation; see Calibration.

    `base` is the largest with which, at strength 1, a share `quantile` of honest users has an overhead below
    `overhead` (total seconds over seconds without work). `request_seconds` is the time of a request of 64
    queries. With base 1, as before `fitted_to`, every request costs the same.
    """

    name: ClassVar[str] = "fitted"

    sided: Literal["one", "two"] = "two"
    request_seconds: float = 0.46
    at_expectation: float = 0.1
    overhead: float = 2.0
    quantile: float = 0.95
    base: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.at_expectation > 0, "at_expectation", "above 0")
        lowest = 1 + self.at_expectation
        self._require(self.overhead > lowest, "overhead", f"above {lowest:g}, 1 and at_expectation together")
        self._require(0 < self.quantile < 1, "quantile", "between 0 and 1")
        self._require(self.base >= 1, "base", "at least 1")
        self._require(self.request_seconds > 0, "request_seconds", "above 0")

    def schedule(self, deviation: np.ndarray) -> np.ndarray:
        """Seconds for each deviation (see Calibration)."""
        own_time = self.request_seconds * self.request_size / REQUEST_QUERIES
        return self.at_expectation * own_time * power(self.base, deviation)

    def overheads(self, requests: pd.DataFrame) -> np.ndarray:
        """Each user's seconds with work over those without, float64 `[users]` (see HonestUsers.requests)."""
        seconds = self.seconds(requests["cost"].to_numpy(), requests["queries"].to_numpy())
        work = pd.Series(seconds).groupby(requests["user"].to_numpy()).sum()
        queries = requests.groupby("user")["queries"].last()
        return 1 + work.to_numpy() / (queries.to_numpy() / REQUEST_QUERIES * self.request_seconds)

    def fitted_to(self, requests: pd.DataFrame) -> FittedCalibration:
        """This calibration with the expectation and the base that the users' requests allow.

        A share `quantile` of all such users stays below the bound with confidence 95 %, whatever the
        distribution of overheads (Wilks 1941): so many users that fewer would be exceeded too easily must.
        The base is rounded down. Raises ValueError for too few users, and where even base 1 is too expensive.
        """
        expected = LinearExpectation.fit(requests["queries"].to_numpy(), requests["cost"].to_numpy())
        users = requests["user"].nunique()
        rank = 1 + int(np.searchsorted(bdtr(np.arange(users + 1), users, self.quantile), CONFIDENCE))
        if rank > users:
            need = math.ceil(math.log(1 - CONFIDENCE) / math.log(self.quantile))
            share = f"for a share of {self.quantile:g}"
            raise ValueError(f"pow_calibration.users.count must be at least {need} {share}, not {users}")

        def holds(log_base: float) -> bool:
            tried = replace(self, expected=expected, strength=1.0, base=math.exp(log_base))
            return bool(np.sort(tried.overheads(requests))[rank - 1] < self.overhead)

        return replace(self, expected=expected, base=_rounded_down(math.exp(_largest(holds))))

    def guarantee(self, requests: pd.DataFrame) -> Guarantee:
        """What holds at strength 1 for the users of these requests."""
        overheads = np.sort(replace(self, strength=1.0).overheads(requests))
        users, below = len(overheads), int((overheads < self.overhead).sum())
        rank = min(math.ceil(users * self.quantile), users)
        return Guarantee(
            users=users,
            share=below / users,
            low=float(betaincinv(below, users - below + 1, 0.025)) if below else 0.0,
            high=float(betaincinv(below + 1, users - below, 0.975)) if below < users else 1.0,
            quantile=float(overheads[rank - 1]),
        )


def fit_to_users(
    calibration: FittedCalibration,
    users: HonestUsers,
    priced: pd.DataFrame,
    cumulative: Cumulative,
    seed: int,
) -> tuple[FittedCalibration, Guarantee]:
    """Fitted to users on half of the priced images, with what holds for users on the other half."""
    random = np.random.default_rng(seed)
    fitting, held_out = halves(priced, random)
    size = calibration.request_size
    fitted = calibration.fitted_to(users.requests(fitting, cumulative, size, random, unseen_images=True))
    return fitted, fitted.guarantee(users.requests(held_out, cumulative, size, random, unseen_images=False))


def _largest(holds: Callable[[float], bool]) -> float:
    """The largest log base that holds, from below, to 1e-9."""
    if not holds(0.0):
        raise ValueError(
            "pow_calibration.at_expectation and floor: at the expectation the overhead is exceeded already"
        )
    low, high = 0.0, STEEPEST_LOG_BASE
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _rounded_down(base: float) -> float:
    """Base less 1 to four digits, rounded towards 1."""
    if base <= 1:
        return 1.0
    step = 10.0 ** (math.floor(math.log10(base - 1)) - 3)
    return 1 + math.floor((base - 1) / step) * step
