"""An expectation is the cumulative privacy cost that an honest user has after some queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from storage.typed import Finite


@dataclass(frozen=True)
class LinearExpectation:
    """Expects a cumulative privacy cost of slope * queries + intercept."""

    slope: Finite
    intercept: Finite

    def __call__(self, queries: np.ndarray) -> np.ndarray:
        """Return the expected cumulative cost, float64 `[m]`, after `queries` `[m]`."""
        return self.slope * np.asarray(queries, dtype=np.float64) + self.intercept

    @classmethod
    def fit(cls, queries: np.ndarray, cost: np.ndarray) -> LinearExpectation:
        """Fit a least-squares line to cumulative cost `[m]` over cumulative queries `[m]`, as the paper does.

        Raises ValueError for fewer than two different numbers of queries.
        """
        x, y = np.asarray(queries, dtype=np.float64), np.asarray(cost, dtype=np.float64)
        spread = x - x.mean() if len(x) else x
        if not np.any(spread):
            raise ValueError("an expectation needs the cost after at least two different numbers of queries")
        slope = float((spread * (y - y.mean())).sum() / (spread**2).sum())
        return cls(slope, float(y.mean() - slope * x.mean()))
