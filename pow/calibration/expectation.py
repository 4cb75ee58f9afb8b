"""What an honest user is expected to cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LinearExpectation:
    """Cumulative privacy cost expected after so many queries: slope * queries + intercept."""

    slope: float
    intercept: float

    def __call__(self, queries: np.ndarray) -> np.ndarray:
        """Expected cumulative cost, float64 `[m]`, after each of `queries` `[m]`."""
        return self.slope * np.asarray(queries, dtype=np.float64) + self.intercept

    @classmethod
    def fit(cls, queries: np.ndarray, cost: np.ndarray) -> LinearExpectation:
        """The least-squares line of cumulative cost on cumulative queries, as the paper fits its user's.

        Raises ValueError for fewer than two different points.
        """
        x, y = np.asarray(queries, dtype=np.float64), np.asarray(cost, dtype=np.float64)
        spread = x - x.mean() if len(x) else x
        if not np.any(spread):
            raise ValueError("an expectation needs the cost after at least two different numbers of queries")
        slope = float((spread * (y - y.mean())).sum() / (spread**2).sum())
        return cls(slope, float(y.mean() - slope * x.mean()))
