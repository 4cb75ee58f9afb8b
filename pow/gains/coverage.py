"""Coverage: how much of the victim's feature space an account has touched.

The idea is that of B4B (Dubinski et al. 2023): who steals a model asks all over its feature space, and who
uses it has a task in some part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd

from pow.gains.base import Gain
from storage.identity import stable_id
from storage.typed import Bounds

BUCKET = "bucket"
"""The trace's column with the bucket of the feature space that a query falls in."""

HONEST_QUERIES = 1000
"""An honest account's so many queries say what one query adds to coverage on average."""


@stable_id("gain/coverage")
@dataclass(frozen=True)
class CoverageGain(Gain):
    """Counts the buckets of the victim's feature space that the account has touched; see Gain.

    A query in a bucket that the account has touched before adds nothing: repeated queries are free, and so
    are nearly equal ones.

    Args:
        hyperplanes: How many cut the space, so that there are 2 ** hyperplanes buckets.
    """

    by_bucket: ClassVar[bool] = True

    hyperplanes: Annotated[int, Bounds(1, 12)] = 8

    @property
    def width(self) -> int:
        """See Gain."""
        return 2**self.hyperplanes

    def fitted(self, honest: pd.DataFrame) -> CoverageGain:
        """Return this gain with what an honest account's first queries touch, for each of them."""
        touched = self.raw(honest[:HONEST_QUERIES], np.zeros(len(honest[:HONEST_QUERIES])))
        return replace(self, scale=float(touched.mean()))

    def raw(self, rows: pd.DataFrame, payer: np.ndarray) -> np.ndarray:
        """See Gain."""
        touched = pd.DataFrame({"payer": payer, "bucket": _buckets(rows)})
        return (~touched.duplicated()).to_numpy(dtype=np.float64)

    def revealed(self, rows: pd.DataFrame) -> np.ndarray:
        """Return a one where the query's bucket is, float64 `[n, buckets]`."""
        return np.eye(self.width)[_buckets(rows)]

    def raw_of(self, totals: np.ndarray) -> np.ndarray:
        """Return how many buckets were touched, float64 `[m]`."""
        return np.count_nonzero(totals, axis=1).astype(np.float64)


def _buckets(rows: pd.DataFrame) -> np.ndarray:
    if BUCKET not in rows:
        raise ValueError(
            "pow_calibration.gains.coverage needs the column `bucket`, which this trace does not have"
        )
    return rows[BUCKET].to_numpy(dtype=np.int64)
