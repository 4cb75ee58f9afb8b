"""Charging groups a trace's queries into requests and gives each request its price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pow.calibration.base import Calibration
from pow.puzzles.settings import PuzzleSettings
from storage.options import check_choice

ScopeName = Literal["account", "subnet", "global"]


@dataclass(frozen=True)
class Scope:
    """Says which accounts form a payer: a group whose costs add up and set the price of its requests.

    A wider scope gives an attacker less gain from many accounts, and makes honest users pay more for others.

    Args:
        name: "account" (each one alone), "subnet" (consecutive accounts together) or "global" (all together).
        subnet_size: Accounts in a subnet, at least 1.

    Raises:
        ValueError: A value is not valid; the message names the option.
    """

    name: ScopeName = "account"
    subnet_size: int = 256

    def __post_init__(self) -> None:
        check_choice("defense.pow.scope", self.name, ScopeName)
        if self.subnet_size < 1:
            raise ValueError(f"defense.pow.subnet_size must be at least 1, not {self.subnet_size}")

    def payer(self, account: np.ndarray) -> np.ndarray:
        """Return the payer of each account, int `[n]`."""
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
    """Group queries into requests and price each request.

    A request holds consecutive queries of one account in one round, at most `calibration.request_size`. The
    last request of a round may be smaller and costs as much as a full one. The arrays have one entry per
    query, in the order asked.

    Args:
        calibration: Turns the payer's totals into seconds and expected hashes.
        puzzle: Puzzle that is asked for; it may round the hashes down.
        account: Account that asks, int `[n]`.
        round: Round of the attack, int `[n]`.
        cumulative_cost: The payer's privacy cost with that query included, float `[n]`.
        payer: The account's group as `Scope.payer` gives it, int `[n]`.
        factor: Multiplies the seconds of the request whose last query it belongs to, `[n]`; default 1.

    Returns:
        One row per request: round, account, queries, seconds, expected_hashes.

    Raises:
        ValueError: A cost is NaN.
    """
    if np.isnan(cumulative_cost).any():
        raise ValueError("a query without a cost (NaN) cannot be priced")
    requests = _requests(account, round, cumulative_cost, payer, factor, calibration.request_size)
    seconds = calibration.seconds(requests.pop("cost").to_numpy(), requests.pop("total").to_numpy())
    seconds = seconds * requests.pop("factor").to_numpy()
    requests["seconds"] = seconds
    requests["expected_hashes"] = puzzle.expected_hashes(calibration.expected_hashes(seconds))
    return requests


def _requests(
    account: np.ndarray,
    round: np.ndarray,
    cumulative_cost: np.ndarray,
    payer: np.ndarray,
    factor: np.ndarray | None,
    size: int,
) -> pd.DataFrame:
    """Return one row per request; `cost`, `total` (the payer's queries) and `factor` are its last query's."""
    trace = pd.DataFrame({"account": account, "round": round, "cost": cumulative_cost, "factor": 1.0})
    if factor is not None:
        trace["factor"] = factor
    trace["total"] = trace.groupby(payer).cumcount() + 1
    within = trace.groupby(["account", "round"]).cumcount()
    trace["request"] = within // size
    return (
        trace.groupby(["round", "account", "request"], as_index=False)
        .agg(
            queries=("cost", "size"),
            cost=("cost", "last"),
            total=("total", "last"),
            factor=("factor", "last"),
        )
        .drop(columns="request")
    )
