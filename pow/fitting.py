"""Fits the progressive calibration to a population of honest users, and tests what it promises them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd

from pow.calibration.base import NotFitted
from pow.calibration.progressive import ProgressiveCalibration
from pow.honest_users import halves
from pow.population import Population, Users, sorted_by_label
from storage.identity import stable_id
from storage.typed import BelowOne, Bounds, Part, check_declared

CONFIDENCE = 0.95
"""Confidence of the fit, and of the intervals that are printed."""

REPLICATES = 100
"""Times that images and users are drawn anew, for the fit and for the test."""


LEAST_IMAGES = 20
"""Images of honest users that a fit needs, half of them for its test."""


@stable_id("bound")
@dataclass(frozen=True)
class Bound:
    """A promise: the share `users` of honest users stays below the `overhead`, at strength 1.

    Overhead is a user's seconds with work over those without. Raises ValueError naming the option.
    """

    users: Part
    overhead: Annotated[float, Bounds(1, above=True)]

    def __post_init__(self) -> None:
        check_declared(self, "pow_calibration.bounds.*")


@dataclass(frozen=True)
class Terms:
    """By what a progressive calibration is fitted.

    Attributes:
        bounds: What is promised.
        within_allowance: Share of users whose whole gain lies within the allowance.
        fits: Which of allowance and steepness are fitted; the others are as the config has them.
    """

    bounds: tuple[Bound, ...]
    within_allowance: BelowOne
    fits: tuple[str, ...] = ("allowance", "steepness")

    def __post_init__(self) -> None:
        if not self.bounds:
            raise ValueError("pow_calibration.bounds must name at least one bound")
        check_declared(self, "pow_calibration")


@dataclass(frozen=True)
class Held:
    """What held of a bound for users on images that were not fitted to.

    Attributes:
        bound: The bound.
        share: Share of users below it.
        low: Lower end of the 95 % interval of that share, over other images and other users.
        high: Its upper end.
        by_stratum: Share of each stratum's users; None for a stratum without users.
    """

    bound: Bound
    share: float
    low: float
    high: float
    by_stratum: Mapping[str, float | None]


@dataclass(frozen=True)
class Stress:
    """What happens where users are not as they were fitted to.

    Attributes:
        dearer_bill: The bill of all users together, own time and work, where every cost is 10 % higher, over
            what it was.
        dearer_share: Share of users below the first bound then.
        longer_overhead: Overhead at the largest bound's share of users, where all ask twice as much.
        longest_overhead: Overhead of a mean user who asks twice as much as the longest.
        longest_bill: The bill of such a user, own time and work, over that of the longest.
    """

    dearer_bill: float
    dearer_share: float
    longer_overhead: float
    longest_overhead: float
    longest_bill: float


@dataclass(frozen=True)
class Promise:
    """What was tested on the images that were not fitted to: each bound, and what holds under stress."""

    held: tuple[Held, ...]
    stress: Stress

    def figures(self) -> dict[str, Any]:
        """For result.json."""
        return asdict(self)

    def sentence(self) -> str:
        """Return the promise as two lines for the log."""
        parts = [
            f"{100 * each.share:.1f} % ({100 * each.low:.1f} to {100 * each.high:.1f}) of other users on "
            f"other images stay below an overhead of {each.bound.overhead:g} "
            f"(promised {100 * each.bound.users:g} %)"
            for each in self.held
        ]
        stress = self.stress
        return "; ".join(parts) + (
            f"\nwere every query 10 % dearer: {stress.dearer_bill:.2f} times the bill, "
            f"{100 * stress.dearer_share:.1f} % below {self.held[0].bound.overhead:g}; "
            f"who asks twice as much as the longest user: {stress.longest_bill:.2f} times that one's bill, "
            f"overhead {stress.longest_overhead:.2f}"
        )


def fit_to_population(
    calibration: ProgressiveCalibration,
    population: Population,
    terms: Terms,
    priced: pd.DataFrame,
    seed: int,
) -> tuple[ProgressiveCalibration, Promise]:
    """Fit gains, allowance and steepness on one half of the images, and test them on the other.

    The steepness is the largest with which every bound holds, with confidence 95 % over images and users like
    these. No attack is looked at.

    Args:
        calibration: Calibration to fit.
        population: Draws honest users.
        terms: By what it is fitted.
        priced: One row per image; see HonestUsers.requests.
        seed: Seed of the split and of the users.

    Raises:
        NotFitted: Even without steepness a bound does not hold, there are too few images, or one has a cost
            that is not finite.
    """
    _check_images(calibration, priced)
    random = np.random.default_rng(seed)
    fitting, held_out = map(sorted_by_label, halves(priced, random))
    clean = fitting[~fitting["corrupted"]] if "corrupted" in fitting else fitting
    shuffled = clean.iloc[random.permutation(len(clean))]
    fitted = replace(calibration, gains=calibration.total.fitted(shuffled).each)
    gains, _ = _totals(fitted, population.draw(fitting, random), fitting)
    fitted = _with_allowance(fitted, gains, terms)
    if "steepness" in terms.fits:
        samples = (
            _totals(fitted, population.draw(fitting, random, resampled=True), fitting)
            for _ in range(REPLICATES)
        )
        fitted = _with_steepness(fitted, samples, terms)
    return fitted, promise(fitted, population, terms.bounds, held_out, random)


def check_images(images: int) -> None:
    """Raise NotFitted where there are too few images of honest users."""
    if images < LEAST_IMAGES:
        raise NotFitted(
            f"a toll is fitted to {LEAST_IMAGES} images of honest users at least, not to {images}: these are "
            "the test images; choose dataset.splits with more of them"
        )


def _check_images(calibration: ProgressiveCalibration, priced: pd.DataFrame) -> None:
    check_images(int((~priced["corrupted"]).sum()) if "corrupted" in priced else len(priced))
    for measure in {name for gain in calibration.gains.values() for name in gain.measures}:
        if not np.isfinite(priced[f"cost_{measure}"]).all():
            raise NotFitted(f"an honest user's image has a cost_{measure} that is not finite")


def broken_promise(figures: Mapping[str, Any]) -> str | None:
    """Return a sentence where a bound did not hold on the other images, not even at its interval's end.

    `figures` are those of Promise.figures. Few images, or a gain that a few of them decide, bring that about.
    """
    for held in figures["held"]:
        bound = held["bound"]
        if held["high"] < bound["users"]:
            return (
                f"the toll does not keep its promise: {100 * held['share']:.1f} % of other users on other "
                f"images stay below an overhead of {bound['overhead']:g}, not {100 * bound['users']:g} %; "
                "fit it to more images, or give pow_calibration.gains.excess less weight"
            )
    return None


def fit_to_accounts(
    calibration: ProgressiveCalibration, gains: np.ndarray, queries: np.ndarray, terms: Terms, seed: int
) -> ProgressiveCalibration:
    """Fit allowance and steepness to accounts of a running gate.

    Args:
        calibration: Calibration of that gate, whose gains stand.
        gains: Total gain of each account, `[m]`.
        queries: Its queries, `[m]`, at least 1 each.
        terms: By what it is fitted.
        seed: Seed of the resampling of accounts.

    Raises:
        ValueError: There are fewer than 20 accounts, or a bound does not hold even without steepness.
    """
    if len(gains) < FEWEST_ACCOUNTS:
        raise ValueError(
            f"{len(gains)} accounts are too few to fit to; at least {FEWEST_ACCOUNTS} must have asked"
        )
    random = np.random.default_rng(seed)
    fitted = _with_allowance(calibration, gains, terms)
    drawn = (random.integers(len(gains), size=len(gains)) for _ in range(REPLICATES))
    return _with_steepness(fitted, ((gains[each], queries[each]) for each in drawn), terms)


FEWEST_ACCOUNTS = 20


def _with_allowance(
    calibration: ProgressiveCalibration, gains: np.ndarray, terms: Terms
) -> ProgressiveCalibration:
    """The calibration with the allowance that the stated share of users, of these gains, stays within."""
    if "allowance" not in terms.fits:
        return calibration
    return replace(calibration, allowance=float(np.quantile(gains, terms.within_allowance)))


def _with_steepness(
    calibration: ProgressiveCalibration, samples: Iterable[tuple[np.ndarray, np.ndarray]], terms: Terms
) -> ProgressiveCalibration:
    """The calibration with the steepness that nearly all samples of users, gains and queries, can bear."""
    drawn = [_largest_steepness(calibration, *sample, terms.bounds) for sample in samples]
    return replace(calibration, steepness=_rounded_down(float(np.quantile(drawn, 1 - CONFIDENCE))))


def fit_figures(calibration: ProgressiveCalibration) -> dict[str, Any]:
    """Return what was fitted, as result.json has it; `as_fitted` takes it back."""
    return {
        "gains": {name: asdict(gain) for name, gain in calibration.gains.items()},
        "allowance": calibration.allowance,
        "steepness": calibration.steepness,
    }


def as_fitted(calibration: ProgressiveCalibration, figures: Mapping[str, Any]) -> ProgressiveCalibration:
    """Return the calibration with what `fit_figures` gave."""
    gains = {name: replace(gain, **figures["gains"][name]) for name, gain in calibration.gains.items()}
    return replace(calibration, gains=gains, allowance=figures["allowance"], steepness=figures["steepness"])


def overheads(calibration: ProgressiveCalibration, users: Users, priced: pd.DataFrame) -> np.ndarray:
    """Return each user's seconds with work over those without, float64 `[users]`."""
    gains, queries = _totals(calibration, users, priced)
    overhead: np.ndarray = 1 + calibration.potential(gains) / (queries * calibration.own_seconds)
    return overhead


def _totals(
    calibration: ProgressiveCalibration, users: Users, priced: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Each user's total gain and number of queries."""
    increments = calibration.total.increments(priced.iloc[users.row], users.user)
    return np.bincount(users.user, increments, minlength=len(users.queries)), users.queries


def _largest_steepness(
    calibration: ProgressiveCalibration, gains: np.ndarray, queries: np.ndarray, bounds: Sequence[Bound]
) -> float:
    """The largest steepness with which these users keep within every bound.

    Overhead is linear in the steepness, so each user has a largest one of its own for each bound.
    """
    beyond = np.maximum(gains / calibration.allowance - 1, 0) ** calibration.exponent
    largest = math.inf
    for bound in bounds:
        slack = (bound.overhead - 1) * queries - calibration.share * gains
        with np.errstate(divide="ignore"):
            own = np.where(slack > 0, slack / (calibration.allowance * beyond), -1.0)
        most_exceeding = len(own) - math.ceil(bound.users * len(own))
        largest = min(largest, float(np.partition(own, most_exceeding)[most_exceeding]))
    if largest < 0:
        raise NotFitted(
            "pow_calibration.share: without any steepness the overhead of honest users is above a bound of "
            "pow_calibration.bounds already; choose a smaller share, or a higher overhead"
        )
    return min(largest, STEEPEST)


STEEPEST = 1e6
"""More than this is not tried: beyond the allowance a query then costs all that the cap allows."""


def promise(
    calibration: ProgressiveCalibration,
    population: Population,
    bounds: Sequence[Bound],
    priced: pd.DataFrame,
    random: np.random.Generator,
) -> Promise:
    """Return what holds of the bounds, at strength 1, for users on the priced images."""
    at_one = replace(calibration, strength=1.0)
    users = [population.draw(priced, random) for _ in range(10)]
    overhead = np.concatenate([overheads(at_one, each, priced) for each in users])
    stratum = np.concatenate([each.stratum for each in users])
    replicates = [
        overheads(at_one, population.draw(priced, random, resampled=True), priced) for _ in range(REPLICATES)
    ]
    held = tuple(_held(bound, population, overhead, stratum, replicates) for bound in bounds)
    return Promise(held, _stress(at_one, population, bounds, priced, overhead, random))


def _held(
    bound: Bound,
    population: Population,
    overhead: np.ndarray,
    stratum: np.ndarray,
    replicates: Sequence[np.ndarray],
) -> Held:
    below = overhead < bound.overhead
    shares = np.array([(each < bound.overhead).mean() for each in replicates])
    low, high = np.quantile(shares, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    by_stratum = {
        name: float(below[stratum == number].mean()) if (stratum == number).any() else None
        for number, name in enumerate(population.strata)
    }
    share = float(below.mean())
    return Held(bound, share, min(float(low), share), max(float(high), share), by_stratum)


def _stress(
    calibration: ProgressiveCalibration,
    population: Population,
    bounds: Sequence[Bound],
    priced: pd.DataFrame,
    overhead: np.ndarray,
    random: np.random.Generator,
) -> Stress:
    costs = [name for name in map(str, priced) if name.startswith("cost_")]
    users = population.draw(priced, random)
    dearer = priced.copy()
    dearer[costs] *= 1.1
    before, after = (overheads(calibration, users, each) for each in (priced, dearer))
    longer = overheads(calibration, population.draw(priced, random, stretch=2.0), priced)
    gains, queries = _totals(calibration, users, priced)
    longest = population.longest * np.array([1, 2])
    bills = longest * calibration.own_seconds + calibration.potential(gains.sum() / queries.sum() * longest)
    return Stress(
        dearer_bill=float((after * queries).sum() / (before * queries).sum()),
        dearer_share=float((after < bounds[0].overhead).mean()),
        longer_overhead=float(np.quantile(longer, max(bound.users for bound in bounds))),
        longest_overhead=float(bills[1] / (longest[1] * calibration.own_seconds)),
        longest_bill=float(bills[1] / bills[0]),
    )


def _rounded_down(value: float) -> float:
    """Round down to four significant digits, so that users pay no more than was fitted."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    return math.floor(value / step) * step
