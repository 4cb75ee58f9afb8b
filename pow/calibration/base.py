"""What every calibration is."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Calibration(Protocol):
    """Prices requests of at most `request_size` queries."""

    @property
    def request_size(self) -> int:
        """Queries that are charged together."""
        ...

    def seconds(self, cost: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Seconds of work for each request, float64 `[m]`.

        cost and queries `[m]` are the account's cumulative ones with the request included.
        """
        ...

    def expected_hashes(self, seconds: np.ndarray) -> np.ndarray:
        """Expected hashes that take the reference client so many seconds, float64 `[m]`."""
        ...
