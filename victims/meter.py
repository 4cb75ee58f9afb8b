"""The meter beside the victim: what each answered query reveals, under every configured measure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from victims.measures.base import Measure
from victims.types import QueryBatch


class Meter:
    """Keeps one row a query until they are taken: round, account, and each measure's columns."""

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        self.measures = dict(measures)
        self._rows: list[pd.DataFrame] = []

    @torch.no_grad()
    def costs(self, images: Tensor, log_probs: Tensor) -> dict[str, Tensor]:
        """Columns named `<quantity>_<measure>`, float64 `[n]`, such as `cost_pate` and `log_q_pate`."""
        return {
            f"{quantity}_{name}": values
            for name, measure in self.measures.items()
            for quantity, values in measure.columns(images, log_probs).items()
        }

    def record(
        self, batch: QueryBatch, log_probs: Tensor, measured: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Add a row for each image of the batch, given the victim's log-probabilities `[n, classes]`.

        `measured` are further columns `[n]`.
        """
        columns = {name: values.cpu().numpy() for name, values in self.costs(batch.images, log_probs).items()}
        labels = {"round": batch.round, "account": batch.account}
        self._rows.append(pd.DataFrame(labels | columns | dict(measured or {}), index=range(len(batch))))

    def take(self) -> pd.DataFrame:
        """The rows since the last call, which are then forgotten here."""
        rows, self._rows = self._rows, []
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
