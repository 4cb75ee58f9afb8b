"""Simulated honest users: they ask about images of the victim's own distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd

from storage.identity import stable_id
from storage.typed import AboveNone, Bounds, Positive, Share, check_declared

Cumulative = Callable[[pd.DataFrame], np.ndarray]
"""Gives the cost of each row of a priced table and all rows before it, float64 `[n]`."""

IMAGE_CONCENTRATION = 0.5
"""Concentration of the Dirichlet weights of a user's images, where users ask about images not at hand.

At 1 the weights are a Bayesian bootstrap (Rubin 1981): the mean cost varies as that of a sample of as many
images. At 0.5 it has twice that variance, since the images at hand and those not at hand are both samples.
"""


@stable_id("honest_users")
@dataclass(frozen=True)
class HonestUsers:
    """Draws honest users, who ask about random images, with repetition.

    Args:
        count: Number of users, at least 2.
        longest: Queries of the users who ask most.
        lengths: Shares of `longest`; each user makes one of these numbers of queries.
        imbalanced: Share of users who prefer some classes.
        imbalance: Concentration of the symmetric Dirichlet distribution of those users' class weights.
        corrupted: Share of users who send lightly corrupted images among clean ones.
        corruption: Probability that such a user's image is corrupted.

    Raises:
        ValueError: A value is out of its range; the message names the option.
    """

    count: Annotated[int, Bounds(2)] = 400
    longest: Annotated[int, Bounds(2)] = 9000
    lengths: Sequence[AboveNone] = (0.1, 0.25, 0.5, 1.0)
    imbalanced: Share = 0.25
    imbalance: Positive = 5.0
    corrupted: Share = 0.25
    corruption: Share = 0.2

    def __post_init__(self) -> None:
        check_declared(self, "pow_calibration.users")
        if not self.lengths:
            raise ValueError("pow_calibration.users.lengths must name at least one share of the longest")

    def requests(
        self,
        priced: pd.DataFrame,
        cumulative: Cumulative,
        request_size: int,
        random: np.random.Generator,
        unseen_images: bool,
    ) -> pd.DataFrame:
        """Simulate the users' requests.

        Args:
            priced: One row per image with what `cumulative` needs. An optional column `label` allows for
                imbalance. An optional column `corrupted` marks a second row for each image, in the same order
                as the clean rows.
            cumulative: Gives each row's cost together with all rows before it.
            request_size: Queries in a request; a user's last request may be smaller.
            random: Source of random numbers.
            unseen_images: Whether users stand for those who ask about other images; see IMAGE_CONCENTRATION.

        Returns:
            One row per request: `user`, and `queries` and `cost`, the user's totals after that request.
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
        """Draw the rows that one user asks about, in order."""
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
    """Split the rows into clean and corrupted ones; there may be no corrupted ones."""
    if "corrupted" not in priced:
        return priced, priced.iloc[:0]
    clean, noisy = priced[~priced["corrupted"]], priced[priced["corrupted"]]
    if len(noisy) and len(noisy) != len(clean):
        raise ValueError(f"{len(noisy)} corrupted images stand beside {len(clean)} clean ones")
    return clean.reset_index(drop=True), noisy.reset_index(drop=True)


def halves(priced: pd.DataFrame, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the images at random into two tables, each with its clean and corrupted rows."""
    clean, noisy = _versions(priced)
    order = random.permutation(len(clean))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]

    def part(index: np.ndarray) -> pd.DataFrame:
        versions = [table.iloc[index] for table in (clean, noisy) if len(table)]
        return pd.concat(versions, ignore_index=True)

    return part(first), part(second)
