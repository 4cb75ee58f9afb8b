"""Simulated honest users: what their queries cost, drawn from images of the victim's own distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from storage.identity import stable_id

Cumulative = Callable[[pd.DataFrame], np.ndarray]
"""Cost of each row of a priced table together with all rows before it, float64 `[n]`."""

IMAGE_CONCENTRATION = 0.5
"""Of the Dirichlet weights that each user's images get when other images are to be expected.

At 1 they are a Bayesian bootstrap (Rubin 1981), whose mean varies as that of a sample of so many images does;
at 0.5 with twice its variance: that of the images at hand, and that of the other ones.
"""


@stable_id("honest_users")
@dataclass(frozen=True)
class HonestUsers:
    """How honest users are drawn.

    Each of `count` users asks one of `lengths`, shares of the `longest`, in random order, with repetition. A
    share `imbalanced` of the users prefers some classes, with class weights from a symmetric Dirichlet
    distribution of concentration `imbalance`; a share `corrupted` sends lightly corrupted images among its
    own, each with probability `corruption`.
    """

    count: int = 400
    longest: int = 9000
    lengths: Sequence[float] = (0.1, 0.25, 0.5, 1.0)
    imbalanced: float = 0.25
    imbalance: float = 5.0
    corrupted: float = 0.25
    corruption: float = 0.2

    def __post_init__(self) -> None:
        self._require(self.count >= 2, "count", "at least 2")
        self._require(self.longest >= 2, "longest", "at least 2 queries")
        shares = [0 < length <= 1 for length in self.lengths]
        self._require(bool(shares) and all(shares), "lengths", "shares of the longest, above 0 and up to 1")
        self._require(self.imbalance > 0, "imbalance", "above 0")
        for share in ("imbalanced", "corrupted", "corruption"):
            self._require(0 <= getattr(self, share) <= 1, share, "between 0 and 1")

    def _require(self, valid: bool, option: str, rule: str) -> None:
        if not valid:
            raise ValueError(f"pow_calibration.users.{option} must be {rule}, not {getattr(self, option)!r}")

    def requests(
        self,
        priced: pd.DataFrame,
        cumulative: Cumulative,
        request_size: int,
        random: np.random.Generator,
        unseen_images: bool,
    ) -> pd.DataFrame:
        """A row a request: user, queries and cost, both the user's own totals with that request.

        `priced` has a row an image, and may have columns `label` (for imbalance) and `corrupted`, which marks
        a second row for each image, in the same order as the clean ones. With `unseen_images` the users
        stand for those who will ask about other images: see IMAGE_CONCENTRATION.
        """
        clean, noisy = _versions(priced)
        users = []
        for user in range(self.count):
            rows = self._asked(clean, noisy, random, unseen_images)
            last = np.append(np.arange(request_size - 1, len(rows) - 1, request_size), len(rows) - 1)
            users.append(pd.DataFrame({"user": user, "queries": last + 1, "cost": cumulative(rows)[last]}))
        return pd.concat(users, ignore_index=True)

    def _asked(
        self, clean: pd.DataFrame, noisy: pd.DataFrame, random: np.random.Generator, unseen_images: bool
    ) -> pd.DataFrame:
        """The rows that one user asks about, in order."""
        length = max(1, round(self.longest * random.choice(self.lengths)))
        weights = random.gamma(IMAGE_CONCENTRATION, size=len(clean)) if unseen_images else np.ones(len(clean))
        if random.random() < self.imbalanced and "label" in clean:
            labels = clean["label"].to_numpy()
            weights *= random.dirichlet(np.full(labels.max() + 1, self.imbalance))[labels]
        chosen = random.choice(len(clean), size=length, p=weights / weights.sum())
        share = self.corruption if random.random() < self.corrupted else 0.0
        if not len(noisy):
            return clean.iloc[chosen]
        versions = pd.concat([clean, noisy], ignore_index=True)
        return versions.iloc[chosen + len(clean) * (random.random(length) < share)]


def _versions(priced: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    if "corrupted" not in priced:
        return priced, priced.iloc[:0]
    clean, noisy = priced[~priced["corrupted"]], priced[priced["corrupted"]]
    if len(noisy) and len(noisy) != len(clean):
        raise ValueError(f"{len(noisy)} corrupted images stand beside {len(clean)} clean ones")
    return clean.reset_index(drop=True), noisy.reset_index(drop=True)


def halves(priced: pd.DataFrame, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables with disjoint images, each with its clean and corrupted rows."""
    clean, noisy = _versions(priced)
    order = random.permutation(len(clean))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]

    def part(index: np.ndarray) -> pd.DataFrame:
        versions = [table.iloc[index] for table in (clean, noisy) if len(table)]
        return pd.concat(versions, ignore_index=True)

    return part(first), part(second)
