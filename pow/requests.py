"""Charging groups a trace's queries into requests and gives each request its price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pow.calibration.base import Calibration
from pow.puzzles.base import HARDEST_PART
from pow.puzzles.settings import PuzzleSettings
from storage.options import check_choice
from storage.typed import Count, check_value

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
    subnet_size: Count = 256

    def __post_init__(self) -> None:
        check_choice("defense.pow.scope", self.name, ScopeName)
        check_value("defense.pow.subnet_size", self.subnet_size, Count)

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
    request_size: int | np.ndarray | None = None,
) -> pd.DataFrame:
    """Group queries into requests and price each request.

    A request holds consecutive queries of one account in one round. The arrays have one entry per query, in
    the order asked.

    Args:
        calibration: Turns the payer's totals into seconds and expected hashes.
        puzzle: Puzzle that is asked for; it may round hashes down that the calibration does not carry.
        account: Account that asks, int `[n]`.
        round: Round of the attack, int `[n]`.
        cumulative_cost: The payer's total (cost or gain) with that query included, float `[n]`.
        payer: The account's group as `Scope.payer` gives it, int `[n]`.
        factor: Multiplies the seconds of the request whose last query it belongs to, `[n]`; default 1.
        request_size: Queries in a request, of all or `[n]`; at most, and by default, the calibration's.

    Returns:
        One row per request: round, account, queries, seconds, expected_hashes.

    Raises:
        ValueError: A cost is NaN.
    """
    if np.isnan(cumulative_cost).any():
        raise ValueError("a query without a cost (NaN) cannot be priced")
    size = np.minimum(np.inf if request_size is None else request_size, calibration.request_size)
    trace = _with_requests(account, round, cumulative_cost, payer, size)
    totals = (trace[name].to_numpy() for name in ("before", "after", "total", "is_last"))
    trace["seconds"] = calibration.charged(*totals)
    trace["factor"] = 1.0 if factor is None else factor
    requests = trace.groupby(["round", "account", "request"], as_index=False).agg(
        queries=("after", "size"), seconds=("seconds", "sum"), factor=("factor", "last")
    )
    requests["seconds"] *= requests.pop("factor")
    requests["expected_hashes"] = asked_hashes(calibration, puzzle, requests["seconds"].to_numpy())
    return requests.drop(columns="request")


def asked_hashes(calibration: Calibration, puzzle: PuzzleSettings, seconds: np.ndarray) -> np.ndarray:
    """Return the mean hashes that are asked for seconds of work `[m]`, float64 `[m]`.

    What a puzzle rounds off is lost, except under a calibration that carries it to the next request.
    """
    hashes = calibration.expected_hashes(seconds)
    return hashes if calibration.carries else puzzle.expected_hashes(hashes)


def opening_hashes(calibration: Calibration, puzzle: PuzzleSettings, account_seconds: float) -> float:
    """Return the mean hashes that are asked to open an account; none where it costs nothing.

    No later request carries what a puzzle in whole bits cannot ask for, so the nearest is asked for: at
    most sqrt(2) times too much or too little.
    """
    if not account_seconds:
        return 0.0
    wanted = calibration.expected_hashes(np.array([account_seconds]))
    below, above = puzzle.expected_hashes(wanted), puzzle.expected_hashes(2 * wanted)
    return float(np.where(wanted**2 <= below * above, below, above)[0])


def check_opening(calibration: Calibration, puzzle: PuzzleSettings, account_seconds: float) -> None:
    """Raise ValueError for a price of an account that no puzzle can ask for."""
    most = HARDEST_PART * puzzle.parts / calibration.reference_rate
    if account_seconds > most:
        limit = f"at most {most:.3g} where puzzle.parts={puzzle.parts}"
        raise ValueError(f"open_accounts=true needs account_seconds of {limit}, not {account_seconds:g}")


def request_seconds(calibration: Calibration, requests: pd.DataFrame) -> np.ndarray:
    """Return the seconds of each request, float64 `[m]`, given as HonestUsers.requests gives them."""
    before = requests.groupby("user")["cost"].shift(fill_value=0.0).to_numpy()
    cost, queries = requests["cost"].to_numpy(), requests["queries"].to_numpy()
    return calibration.charged(before, cost, queries, np.ones(len(requests), dtype=bool))


def _with_requests(
    account: np.ndarray, round: np.ndarray, cumulative_cost: np.ndarray, payer: np.ndarray, size: np.ndarray
) -> pd.DataFrame:
    """Return a row per query: its request, and what its payer had `before` and `after` it, and in `total`."""
    trace = pd.DataFrame({"account": account, "round": round, "after": cumulative_cost})
    by_payer = trace.groupby(payer)
    trace["total"] = by_payer.cumcount() + 1
    trace["before"] = by_payer["after"].shift(fill_value=0.0)
    asked = trace.groupby(["account", "round"])
    within = asked.cumcount()
    trace["request"] = within // size
    trace["is_last"] = (within % size == size - 1) | (asked.cumcount(ascending=False) == 0)
    return trace
