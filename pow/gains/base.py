"""What every gain is: something that queries add to, and that no further query takes away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from storage.typed import Positive, check_declared


@dataclass(frozen=True)
class Gain(ABC):
    """What an account has gained by its queries, counted in honest queries.

    A gain counts `weight` for each query that an honest user asks, on average, once it is fitted.
    Raises ValueError naming the option for values that make no sense.

    Args:
        weight: What an honest query counts.
        scale: Raw gain of an honest query, which `fitted` measures.
    """

    weight: Positive = 1.0
    scale: Positive = 1.0

    def __post_init__(self) -> None:
        check_declared(self, f"pow_calibration.gains.{type(self).__name__.removesuffix('Gain').lower()}")

    def increments(self, rows: pd.DataFrame, payer: np.ndarray) -> np.ndarray:
        """Return what each query adds to its payer's gain, float64 `[n]`, at least 0.

        Args:
            rows: Rows of a trace, in the order asked.
            payer: Who pays for each of them, `[n]`.
        """
        return self.raw(rows, payer) * (self.weight / self.scale)

    def counted(self, totals: np.ndarray) -> np.ndarray:
        """Return the gain, float64 `[m]`, of sums `[m, width]` of `revealed`; it never falls as they grow."""
        return self.raw_of(totals) * (self.weight / self.scale)

    by_bucket: ClassVar[bool] = False
    """Whether it needs the bucket that a query falls in."""

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures (privacy.measures) whose costs it counts."""
        return ()

    def counting(self, measure: str) -> Self:
        """Return this gain, counting another measure where it counts one."""
        return self

    @property
    def width(self) -> int:
        """Numbers per query that `revealed` adds up."""
        return 1

    @abstractmethod
    def fitted(self, honest: pd.DataFrame) -> Self:
        """Return this gain with its scale, measured on honest users' queries, one row each."""

    @abstractmethod
    def raw(self, rows: pd.DataFrame, payer: np.ndarray) -> np.ndarray:
        """Return the increments before weight and scale; see `increments`."""

    def revealed(self, rows: pd.DataFrame) -> np.ndarray:
        """Return what a gate adds up for each query, float64 `[n, width]`, at least 0."""
        return self.raw(rows, np.arange(len(rows)))[:, None]

    def raw_of(self, totals: np.ndarray) -> np.ndarray:
        """Return the gain before weight and scale of sums `[m, width]` of `revealed`."""
        return totals[:, 0]


@dataclass(frozen=True)
class Gains:
    """Several gains that add up."""

    each: Mapping[str, Gain]

    def __post_init__(self) -> None:
        if not self.each:
            raise ValueError("pow_calibration.gains must name at least one gain: excess, volume or coverage")

    def fitted(self, honest: pd.DataFrame) -> Gains:
        """Return the gains, each fitted to honest users' queries, one row each."""
        return replace(self, each={name: gain.fitted(honest) for name, gain in self.each.items()})

    def increments(self, rows: pd.DataFrame, payer: np.ndarray) -> np.ndarray:
        """Return what each query adds to its payer's total gain; see Gain.increments."""
        return np.sum([gain.increments(rows, payer) for gain in self.each.values()], axis=0)

    def cumulative(self, rows: pd.DataFrame) -> np.ndarray:
        """Return one payer's total gain after each of its queries, float64 `[n]`."""
        return self.increments(rows, np.zeros(len(rows), dtype=np.int64)).cumsum()

    def revealed(self, rows: pd.DataFrame) -> np.ndarray:
        """Return what a gate adds up for each query, float64 `[n, d]`, at least 0."""
        return np.concatenate([gain.revealed(rows) for gain in self.each.values()], axis=1)

    def counted(self, totals: np.ndarray) -> np.ndarray:
        """Return the total gain, float64 `[m]`, of sums `[m, d]` of `revealed`."""
        gain, start = np.zeros(len(totals)), 0
        for part in self.each.values():
            gain += part.counted(totals[:, start : start + part.width])
            start += part.width
        return gain
