"""The meter: it records what each answered query reveals, by every configured privacy measure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from victims.buckets import Buckets
from victims.measures.base import Measure
from victims.types import QueryBatch


class Meter:
    """Records one row for each query: its round, its account, and the columns of each measure.

    Args:
        measures: The privacy measures by their names.
        buckets: Those of the victim's feature space; None to record none.
    """

    def __init__(self, measures: Mapping[str, Measure], buckets: Buckets | None = None) -> None:
        self.measures, self.buckets = dict(measures), buckets
        self._rows: list[pd.DataFrame] = []

    @torch.no_grad()
    def costs(self, images: Tensor, log_probs: Tensor) -> dict[str, Tensor]:
        """Measure queries without recording them.

        Args:
            images: Float32 in [0, 1], `[n, c, h, w]`.
            log_probs: The victim's log-probabilities, float32 `[n, classes]`.

        Returns:
            Columns float64 `[n]` named `<quantity>_<measure>`, such as `cost_pate` and `log_q_pate`, and
            `bucket`, int64 `[n]`.
        """
        columns = {
            f"{quantity}_{name}": values
            for name, measure in self.measures.items()
            for quantity, values in measure.columns(images, log_probs).items()
        }
        return columns if self.buckets is None else columns | {"bucket": self.buckets.of(images)}

    def record(
        self, batch: QueryBatch, log_probs: Tensor, measured: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Record a row for each image of a batch.

        Args:
            batch: The queries.
            log_probs: The victim's own log-probabilities, float32 `[n, classes]`.
            measured: Further columns `[n]`, such as measured times.
        """
        columns = {name: values.cpu().numpy() for name, values in self.costs(batch.images, log_probs).items()}
        labels = {"round": batch.round, "account": batch.account}
        self._rows.append(pd.DataFrame(labels | columns | dict(measured or {}), index=range(len(batch))))

    def take(self) -> pd.DataFrame:
        """Return the rows recorded since the last call, and forget them."""
        rows, self._rows = self._rows, []
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
