"""What the answers of a served model reveal, as a gate books it to accounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class GateMeter(Protocol):
    """Prices queries by something that adds up over them."""

    def reveal(self, images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """What adds up, float64 `[n, d]`, for images `[n, c, h, w]` and probabilities `[n, classes]`."""
        ...

    def cost(self, revealed: np.ndarray) -> float:
        """The cost of a sum `[d]` of it, in the unit of the calibration's expectation."""
        ...


@dataclass(frozen=True)
class SummedMeter:
    """Costs that add up themselves: `price(images, probabilities)` is each query's, `[n]`."""

    price: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def reveal(self, images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """See GateMeter; d is 1."""
        return np.asarray(self.price(images, probabilities), dtype=np.float64).reshape(-1, 1)

    def cost(self, revealed: np.ndarray) -> float:
        """See GateMeter."""
        return float(revealed[0])
