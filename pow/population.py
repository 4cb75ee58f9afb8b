"""The population: honest users as they are, in strata of different lengths, habits and tastes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from scipy.special import ndtri

from storage.identity import stable_id
from storage.typed import AboveNone, Bounds, Count, NonNegative, Share, check_declared

IMAGE_CONCENTRATION = 0.5
"""Concentration of the Dirichlet weights by which images are resampled.

At 1 it is a Bayesian bootstrap (Rubin 1981). At 0.5 the variance is twice as high, since the images at hand
and those that users will ask about are both samples.
"""


@stable_id("stratum")
@dataclass(frozen=True)
class Stratum:
    """Honest users who are alike.

    Args:
        share: Their share of all users, before shares are made to add up to 1.
        median: Queries of the median user, as a share of the population's `longest`.
        spread: Standard deviation of the logarithm of the number of queries; 0: all ask as much.
        request_size: Images that they send at a time; None: all at once.
        classes: Classes that each of them asks about; None: all.
        repeats: Probability that a query repeats an earlier one of the same user.
        corruption: Probability that an image is lightly corrupted.
    """

    share: NonNegative
    median: AboveNone = 0.05
    spread: Annotated[float, Bounds(0, 5)] = 1.2
    request_size: Count | None = 64
    classes: Count | None = None
    repeats: Share = 0.0
    corruption: Share = 0.0

    def __post_init__(self) -> None:
        check_declared(self, "honest_users.strata.*")


@dataclass(frozen=True, eq=False)
class Users:
    """Users that were drawn, and what they ask.

    Attributes:
        stratum: Number of each user's stratum, int `[users]`.
        queries: Queries of each user, int `[users]`.
        request_size: Images that each of them sends at a time, int `[users]`.
        user: Who asks, int `[n]`, ascending; a user's queries are in the order asked.
        row: The priced row that is asked about, int `[n]`.
    """

    stratum: np.ndarray
    queries: np.ndarray
    request_size: np.ndarray
    user: np.ndarray
    row: np.ndarray


@stable_id("population")
@dataclass(frozen=True)
class Population:
    """Draws honest users of several strata.

    Args:
        strata: Strata by name.
        longest: Most queries of a user.
        count: Users in a sample.

    Raises:
        ValueError: A value is out of its range; the message names the option.
    """

    strata: Mapping[str, Stratum]
    longest: Annotated[int, Bounds(2)] = 9000
    count: Annotated[int, Bounds(20)] = 1000

    def __post_init__(self) -> None:
        if not self.strata or not sum(stratum.share for stratum in self.strata.values()) > 0:
            raise ValueError("honest_users.strata must name at least one stratum with a share above 0")
        check_declared(self, "honest_users")

    def draw(
        self,
        priced: pd.DataFrame,
        random: np.random.Generator,
        resampled: bool = False,
        stretch: float = 1.0,
        evenly: bool = False,
    ) -> Users:
        """Draw users who ask about the priced images.

        Args:
            priced: One row per image, sorted by `label` where there are labels; with a column `corrupted`,
                as many rows behind them for the same images, lightly corrupted.
            random: Source of random numbers.
            resampled: Whether images are weighed at random, as if they were other ones; see
                IMAGE_CONCENTRATION.
            stretch: Multiplies every user's number of queries.
            evenly: Whether strata and lengths are spread over their distributions instead of drawn from
                them, so that quantiles of a sample are those of the population.
        """
        images = len(priced) - int(priced["corrupted"].sum()) if "corrupted" in priced else len(priced)
        shares = np.array([stratum.share for stratum in self.strata.values()])
        at = _evenly(self.count) if evenly else random.random(self.count)
        stratum = np.searchsorted(shares.cumsum() / shares.sum(), at, side="right")
        z = _spread_within(stratum) if evenly else random.standard_normal(self.count)
        queries = self._lengths(stratum, z, stretch)
        user = np.repeat(np.arange(self.count), queries)
        weights = random.gamma(IMAGE_CONCENTRATION, size=images) if resampled else np.ones(images)
        row = self._rows(priced[:images], weights, stratum, user, random)
        row = _repeated(row, user, queries, self._option("repeats", stratum)[user], random)
        if images < len(priced):
            row = row + images * (random.random(len(row)) < self._option("corruption", stratum)[user])
        size = self._option("request_size", stratum, default=np.inf)
        return Users(stratum, queries, np.minimum(size, queries).astype(np.int64), user, row)

    def _option(self, name: str, stratum: np.ndarray, default: float = 0.0) -> np.ndarray:
        """An option of each user's stratum, float64 `[users]`."""
        values = [getattr(each, name) for each in self.strata.values()]
        return np.array([default if value is None else value for value in values], dtype=np.float64)[stratum]

    def _lengths(self, stratum: np.ndarray, z: np.ndarray, stretch: float) -> np.ndarray:
        """Queries of each user, log-normal by `z` and at most the longest, times `stretch`."""
        median, spread = self._option("median", stratum), self._option("spread", stratum)
        length = self.longest * median * np.exp(spread * z)
        return np.maximum(1, np.rint(np.minimum(length, self.longest) * stretch)).astype(np.int64)

    def _rows(
        self,
        clean: pd.DataFrame,
        weights: np.ndarray,
        stratum: np.ndarray,
        user: np.ndarray,
        random: np.random.Generator,
    ) -> np.ndarray:
        """The image of each query, int `[n]`: any, or one of the few classes of its user."""
        upto = np.append(0.0, weights.cumsum() / weights.sum())
        low, high = np.zeros(len(user)), np.ones(len(user))
        kinds = self._option("classes", stratum, default=np.inf)
        if "label" in clean and np.isfinite(kinds).any():
            low, high = _within_classes(clean["label"].to_numpy(), upto, kinds, user, random)
        drawn = low + random.random(len(user)) * (high - low)
        return np.clip(np.searchsorted(upto, drawn, side="right") - 1, 0, len(clean) - 1)


def _evenly(count: int) -> np.ndarray:
    """The middles of `count` equal parts of [0, 1]."""
    return (np.arange(count) + 0.5) / count


def _spread_within(stratum: np.ndarray) -> np.ndarray:
    """Standard normal quantiles, spread evenly over the users of each stratum, float64 `[users]`."""
    place = pd.Series(stratum).groupby(stratum)
    at = (place.cumcount() + 0.5) / place.transform("size")
    z: np.ndarray = ndtri(at.to_numpy())
    return z


def _within_classes(
    labels: np.ndarray, upto: np.ndarray, kinds: np.ndarray, user: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Between which cumulative weights each query's image lies, float64 `[n]` each.

    `labels` are sorted. Who asks about some classes asks about neighbouring ones, in a random order of all.
    """
    classes = int(labels.max()) + 1
    begin = upto[np.searchsorted(labels, np.arange(classes), side="left")]
    end = upto[np.searchsorted(labels, np.arange(classes), side="right")]
    first = random.integers(classes, size=len(kinds))
    offset = np.floor(random.random(len(user)) * np.minimum(kinds, classes)[user]).astype(np.int64)
    asked = (first[user] + offset) % classes
    narrow = np.isfinite(kinds)[user]
    return np.where(narrow, begin[asked], 0.0), np.where(narrow, end[asked], 1.0)


def _repeated(
    row: np.ndarray, user: np.ndarray, queries: np.ndarray, share: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """The rows with some replaced by an earlier one of the same user."""
    start = np.repeat(queries.cumsum() - queries, queries)
    earlier = start + np.floor(random.random(len(row)) * (np.arange(len(row)) - start)).astype(np.int64)
    return np.where(random.random(len(row)) < share, row[earlier], row)


def sorted_by_label(priced: pd.DataFrame) -> pd.DataFrame:
    """Return the priced images as `draw` takes them: clean ones by label, then the same ones corrupted."""
    clean = priced[~priced["corrupted"]] if "corrupted" in priced else priced
    order = (
        np.argsort(clean["label"].to_numpy(), kind="stable") if "label" in clean else np.arange(len(clean))
    )
    parts = [clean.iloc[order]]
    if len(clean) < len(priced):
        parts.append(priced[priced["corrupted"]].iloc[order])
    return pd.concat(parts, ignore_index=True)
