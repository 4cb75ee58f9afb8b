"""A meter measures what the answers of a served model reveal; the gate adds that up per payer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from pow.gains import Gains


class GateMeter(Protocol):
    """Measures queries by values that add up, and turns the sums into a privacy cost."""

    def reveal(self, images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Return what adds up, float64 `[n, d]`.

        Args:
            images: Images in [0, 1], float32 `[n, c, h, w]`.
            probabilities: The model's answers, float32 `[n, classes]`.
        """
        ...

    def cost(self, revealed: np.ndarray) -> float:
        """Return the privacy cost of a sum `[d]` of it, in the unit of the calibration's expectation."""
        ...


@dataclass(frozen=True, eq=False)
class GainsMeter:
    """Measures queries by the gains of a progressive calibration.

    `rows(images, probabilities)` gives a row a query with the columns that the gains count: `cost_<measure>`,
    and `bucket` for coverage; for volume alone, a frame without columns does.
    """

    gains: Gains
    rows: Callable[[np.ndarray, np.ndarray], pd.DataFrame]

    def reveal(self, images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """See GateMeter."""
        return self.gains.revealed(self.rows(images, probabilities))

    def cost(self, revealed: np.ndarray) -> float:
        """See GateMeter; it is a gain, in honest queries."""
        return float(self.gains.counted(revealed[None])[0])


@dataclass(frozen=True)
class SummedMeter:
    """Measures queries by a cost that adds up itself: `price(images, probabilities)`, `[n]`."""

    price: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def reveal(self, images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """See GateMeter. There is one value per query."""
        return np.asarray(self.price(images, probabilities), dtype=np.float64).reshape(-1, 1)

    def cost(self, revealed: np.ndarray) -> float:
        """See GateMeter."""
        return float(revealed[0])
