"""Volume: every query counts the same, whatever it reveals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pow.gains.base import Gain
from storage.identity import stable_id


@stable_id("gain/volume")
@dataclass(frozen=True)
class VolumeGain(Gain):
    """Counts queries; see Gain."""

    def fitted(self, honest: pd.DataFrame) -> VolumeGain:
        """Return this gain: an honest query counts as one already."""
        return self

    def raw(self, rows: pd.DataFrame, payer: np.ndarray) -> np.ndarray:
        """See Gain."""
        return np.ones(len(rows))
