"""From a trace's queries to the requests that are charged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from pow.calibration.base import Calibration
from pow.puzzles.settings import PuzzleSettings

ScopeName = Literal["account", "subnet", "global"]


@dataclass(frozen=True)
class Scope:
    """Whose costs add up: each account's own, those of each subnet of consecutive accounts, or all together.

    The wider, the less an attacker gains by many accounts, and the more an honest user pays for others.
    Raises ValueError naming the option for values that make no sense.
    """

    name: ScopeName = "account"
    subnet_size: int = 256

    def __post_init__(self) -> None:
        if self.name not in get_args(ScopeName):
            valid = ", ".join(get_args(ScopeName))
            raise ValueError(f"defense.pow.scope must be one of {valid}, not {self.name!r}")
        if self.subnet_size < 1:
            raise ValueError(f"defense.pow.subnet_size must be at least 1, not {self.subnet_size}")

    def payer(self, account: np.ndarray) -> np.ndarray:
        """Who answers for each account, int `[n]`."""
        if self.name == "account":
            return account
        return account // self.subnet_size if self.name == "subnet" else np.zeros_like(account)


def charge(
    calibration: Calibration,
    puzzle: PuzzleSettings,
    account: np.ndarray,
    round: np.ndarray,
    cumulative_cost: np.ndarray,
    payer: np.ndarray,
    factor: np.ndarray | None = None,
) -> pd.DataFrame:
    """One row a request: round, account, queries, seconds, expected_hashes.

    The arrays have one entry a query, in the order asked. `payer` is who answers for the account (itself,
    or a group it belongs to), and `cumulative_cost` the payer's total with that query. A request holds
    consecutive queries of one account in one round, at most `calibration.request_size` of them; the last of
    a round may be smaller and is charged as one. Its seconds are multiplied by the `factor` of its last
    query, 1 unless given. Raises ValueError for a cost that is NaN.
    """
    if np.isnan(cumulative_cost).any():
        raise ValueError("a query without a cost (NaN) cannot be priced")
    trace = pd.DataFrame({"account": account, "round": round, "cost": cumulative_cost, "factor": 1.0})
    if factor is not None:
        trace["factor"] = factor
    trace["total"] = trace.groupby(payer).cumcount() + 1
    within = trace.groupby(["account", "round"]).cumcount()
    trace["request"] = within // calibration.request_size
    requests = (
        trace.groupby(["round", "account", "request"], as_index=False)
        .agg(
            queries=("cost", "size"),
            cost=("cost", "last"),
            total=("total", "last"),
            factor=("factor", "last"),
        )
        .drop(columns="request")
    )
    seconds = calibration.seconds(requests.pop("cost").to_numpy(), requests.pop("total").to_numpy())
    seconds = seconds * requests.pop("factor").to_numpy()
    requests["seconds"] = seconds
    requests["expected_hashes"] = puzzle.expected_hashes(calibration.expected_hashes(seconds))
    return requests
