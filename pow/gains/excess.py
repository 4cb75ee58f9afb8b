"""Excess: what a query costs in privacy beyond what nearly every honest query costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pow.gains.base import Gain
from storage.identity import stable_id
from storage.typed import BelowOne


@stable_id("gain/excess")
@dataclass(frozen=True)
class ExcessGain(Gain):
    """Counts a measure's cost beyond a quantile of honest queries' cost, never below 0; see Gain.

    Args:
        measure: One of privacy.measures.
        quantile: Share of honest queries that gain nothing.
        threshold: The cost at that quantile, which `fitted` measures.
    """

    measure: str = "pate"
    quantile: BelowOne = 0.5
    threshold: float = 0.0

    @property
    def measures(self) -> tuple[str, ...]:
        """See Gain."""
        return (self.measure,)

    def counting(self, measure: str) -> ExcessGain:
        """See Gain."""
        return replace(self, measure=measure)

    def fitted(self, honest: pd.DataFrame) -> ExcessGain:
        """Return this gain with the threshold and the mean excess of honest queries.

        Where no honest query exceeds the threshold, as with costs that are all equal, the threshold itself
        is the scale.
        """
        cost = _cost(honest, self.measure)
        threshold = float(np.quantile(cost, self.quantile))
        scale = float(np.maximum(cost - threshold, 0).mean()) or abs(threshold) or 1.0
        return replace(self, threshold=threshold, scale=scale)

    def raw(self, rows: pd.DataFrame, payer: np.ndarray) -> np.ndarray:
        """See Gain."""
        return np.maximum(_cost(rows, self.measure) - self.threshold, 0)


def _cost(rows: pd.DataFrame, measure: str) -> np.ndarray:
    if f"cost_{measure}" not in rows:
        names = [name.removeprefix("cost_") for name in rows.columns if name.startswith("cost_")]
        raise ValueError(
            f"pow_calibration.gains.excess.measure={measure} is not measured; "
            f"choose one of {', '.join(names)}"
        )
    return rows[f"cost_{measure}"].to_numpy(dtype=np.float64)
