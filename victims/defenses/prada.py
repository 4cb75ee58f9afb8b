"""PRADA watches how far the queries of an account lie from each other (Juuti et al. 2019, "PRADA: Protecting
Against DNN Model Stealing Attacks", the detection algorithm of its section on the defense).

For each query of class c, d is the least L2 distance to the growing set of that class; it joins the
account's distances. Where d exceeds the class's threshold, the query joins the growing set, d the set's own
distances, and the threshold rises to their mean less their standard deviation, if that is more. An honest
user's distances are taken to be normal: the alarm is raised once the statistic W of Shapiro and Wilk, over
the distances within three standard deviations of their mean, falls below delta.

The authors' code tests after each tenth query, leaves out classes with fewer than ten distances, and takes
the alarm back when W rises again: `class_minimum: 10`, `lasts: false`.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from scipy.stats import shapiro
from torch import Tensor

from storage.identity import stable_id
from storage.typed import Bounds, Count, Share, check_declared
from victims.defenses.base import AtAlarm, Watch, Watching
from victims.types import Answer, QueryBatch

BLOCK = 1024
"""Queries whose distances are computed at a time."""

SAME = 1e-5
"""Images that are closer are taken to be equal: products of float64 give their distance no better."""


@stable_id("defense/prada")
class Prada(Watching):
    """Raises an alarm for an account once W, of at least `minimum` distances, is below `delta`.

    Distances count from `class_minimum` of them in their class on. W is computed when the number of all
    distances is a multiple of `every`. The alarm `lasts`, or goes when W is not below `delta` at a later
    test. While it lasts, the account gets no answer (`at_alarm: block`; it does not come to a later test),
    or its toll is multiplied by `surcharge` (`charge`), or neither (`report`). The query at which it is
    raised is answered.
    """

    def __init__(
        self,
        delta: Share,
        minimum: Annotated[int, Bounds(3)],
        every: Count,
        at_alarm: AtAlarm,
        surcharge: Annotated[float, Bounds(1)],
        class_minimum: Count = 1,
        lasts: bool = True,
    ) -> None:
        self.delta, self.minimum, self.every, self.class_minimum = delta, minimum, every, class_minimum
        self.at_alarm, self.surcharge, self.lasts = at_alarm, surcharge, lasts
        check_declared(self, "defense.prada")

    def watch(self) -> Watch:
        """See Watching."""
        return PradaWatch(self)


@dataclass(eq=False)
class GrowingSet:
    """Queries of one class that lie apart, `[m, pixels]`, and the sums of their distances."""

    members: Tensor
    total: float = 0.0
    squares: float = 0.0
    threshold: float = 0.0

    def distances(self, points: Tensor) -> np.ndarray:
        """Least distance of each point `[n, pixels]` to the set as it is when its turn comes, float64 `[n]`.

        NaN for the one that the set begins with. The set grows. Whether a point joins depends on those before
        it, so this goes on point by point, over distances that were computed at once.
        """
        nearest = np.full(len(points), np.inf)
        if len(self.members):
            nearest = distances(points, self.members).amin(1).cpu().numpy()
        between = distances(points, points).cpu().numpy()
        found = np.full(len(points), np.nan)
        joining: list[int] = []
        for number in range(len(points)):
            is_first = not len(self.members) and not joining
            if not is_first:
                found[number] = nearest[number]
            if is_first or nearest[number] > self.threshold:
                joining.append(number)
                self._add(0.0 if is_first else nearest[number], len(self.members) + len(joining))
                np.minimum(nearest, between[number], out=nearest)
        self.members = torch.cat([self.members, points[joining]])
        return found

    def _add(self, distance: float, count: int) -> None:
        self.total += distance
        self.squares += distance * distance
        mean = self.total / count
        deviation = max(self.squares / count - mean * mean, 0.0) ** 0.5
        self.threshold = max(self.threshold, mean - deviation)


@dataclass(eq=False)
class Account:
    """What is known of an account: its growing sets by class, its distances and whose, if it is suspect."""

    sets: dict[int, GrowingSet] = field(default_factory=dict)
    distances: np.ndarray = field(default_factory=lambda: np.zeros(0))
    classes: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    alarm: bool = False


class PradaWatch:
    """See Watch. Columns: `prada_distance`, NaN where there is none, and `alarm`."""

    def __init__(self, prada: Prada) -> None:
        self.prada = prada
        self.accounts: dict[int, Account] = defaultdict(Account)

    def is_blocked(self, account: int) -> bool:
        """See Watch."""
        return self.prada.at_alarm == "block" and self.accounts[account].alarm

    def observe(self, batch: QueryBatch, answer: Answer) -> pd.DataFrame:
        """See Watch."""
        parts = []
        points, labels = batch.images.flatten(1), answer.labels.cpu().numpy()
        for first in range(0, len(points), BLOCK):
            if self.is_blocked(batch.account):
                break
            block = slice(first, first + BLOCK)
            parts.append(self._observe(self.accounts[batch.account], points[block], labels[block]))
        return pd.concat(parts, ignore_index=True)

    def _observe(self, account: Account, points: Tensor, labels: np.ndarray) -> pd.DataFrame:
        found = np.full(len(points), np.nan)
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            growing = account.sets.setdefault(int(label), GrowingSet(points[:0]))
            found[rows] = growing.distances(points[torch.from_numpy(rows).to(points.device)])
        alarms = self._alarms(account, found, labels)
        answered = len(found)
        if self.prada.at_alarm == "block" and account.alarm:
            answered = int(alarms.argmax()) + 1  # what lies behind is forgotten: the account never asks again
        return pd.DataFrame({"prada_distance": found, "alarm": alarms})[:answered]

    def _alarms(self, account: Account, found: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether there is an alarm at each query, bool `[n]`; the account's distances grow by `found`."""
        alarms = np.full(len(found), account.alarm)
        is_new, known = ~np.isnan(found), len(account.distances)
        account.distances = np.concatenate([account.distances, found[is_new]])
        account.classes = np.concatenate([account.classes, labels[is_new]])
        counts = known + np.cumsum(is_new)
        stays = self.prada.lasts or self.prada.at_alarm == "block"
        for number in np.flatnonzero(is_new & (counts % self.prada.every == 0)):
            if stays and account.alarm:
                break
            counted = self._counted(account, counts[number])
            if len(counted) >= self.prada.minimum:
                account.alarm = normality(counted) < self.prada.delta
                alarms[number:] = account.alarm
        return alarms

    def _counted(self, account: Account, count: int) -> np.ndarray:
        """Of an account's first `count` distances those of classes that have enough."""
        distances, classes = account.distances[:count], account.classes[:count]
        return distances[np.bincount(classes)[classes] >= self.prada.class_minimum]


def normality(distances: np.ndarray) -> float:
    """W over the distances within three standard deviations of their mean; 1 if these are equal."""
    near = distances[np.abs(distances - distances.mean()) <= 3 * distances.std()]
    if np.ptp(near) == 0:
        return 1.0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*p-value may not be accurate.*")  # only W is used
        return float(shapiro(near).statistic)


def distances(one: Tensor, other: Tensor) -> Tensor:
    """L2 distances, float64 `[n, m]`, rounded to float32, lest they depend on what else is computed."""
    computed = torch.cdist(one.double(), other.double(), compute_mode="use_mm_for_euclid_dist").float()
    return torch.where(computed < SAME, 0, computed).double()
