"""From a trace's queries to the requests that are charged."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pow.calibration.base import Calibration


def charge(
    calibration: Calibration, account: np.ndarray, round: np.ndarray, cumulative_cost: np.ndarray
) -> pd.DataFrame:
    """One row a request: round, account, queries, seconds, expected_hashes.

    The arrays have one entry a query, in the order asked; `cumulative_cost` is the account's own total
    with that query. A request holds consecutive queries of one account in one round, at most
    `calibration.request_size` of them; the last of a round may be smaller and is charged as one.
    Raises ValueError for a cost that is NaN.
    """
    if np.isnan(cumulative_cost).any():
        raise ValueError("a query without a cost (NaN) cannot be priced")
    trace = pd.DataFrame({"account": account, "round": round, "cost": cumulative_cost})
    trace["total"] = trace.groupby("account").cumcount() + 1
    within = trace.groupby(["account", "round"]).cumcount()
    trace["request"] = within // calibration.request_size
    requests = (
        trace.groupby(["round", "account", "request"], as_index=False)
        .agg(queries=("cost", "size"), cost=("cost", "last"), total=("total", "last"))
        .drop(columns="request")
    )
    seconds = calibration.seconds(requests.pop("cost").to_numpy(), requests.pop("total").to_numpy())
    requests["seconds"] = seconds
    requests["expected_hashes"] = calibration.expected_hashes(seconds)
    return requests
