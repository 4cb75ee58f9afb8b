"""The requests of a recorded trace, and what each costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pow.calibration import Calibration
from pow.calibration.paper import PaperCalibration
from pow.evasion.asking import Pricelist
from pow.puzzles.settings import PuzzleSettings
from pow.requests import asked_hashes, charge
from pow.traces import by_payer


def replay_authors(trace: pd.DataFrame, calibration: Calibration, puzzle: PuzzleSettings) -> pd.DataFrame:
    """The trace of `read_authors_trace`, each row a request, with what its queries and its work add up to.

    The columns query_seconds, pow_seconds, total_seconds, overhead and expected_hashes are cumulative as in
    curve.csv; time and time_pow are the authors' names of the first and of the third. A row without queries,
    which opens the authors' traces, is charged under their own calibration as one of no cost, less a second,
    as they do; under others it is charged nothing.
    """
    queries = trace["queries"].to_numpy()
    opening = queries == 0
    cost = np.where(opening, 0, trace["privacy"].to_numpy())
    extra = calibration.charged(_before(trace, cost), cost, queries, np.ones(len(trace), dtype=bool))
    hashes = asked_hashes(calibration, puzzle, extra)
    authors = isinstance(calibration, PaperCalibration)
    extra = np.where(opening, extra - 1 if authors else 0.0, extra)
    hashes = np.where(opening, 0.0, hashes)
    return _with_work(trace.copy(), extra, hashes)


def replay_queries(
    trace: pd.DataFrame, prices: Pricelist, mode: str, factor: np.ndarray | None = None
) -> pd.DataFrame:
    """The same columns for a trace with a row a query, grouped into requests of the calibration's size.

    An account's first request has the price of the account.

    Args:
        trace: Rows of a trace, with round and account.
        prices: What the attacker is charged by.
        mode: Name of the trace.
        factor: What multiplies the toll of each query, as an alarm does, `[n]`; None: 1.
    """
    account, round = trace["account"].to_numpy(), trace["round"].to_numpy()
    payer = prices.scope.payer(account)
    cumulative = by_payer(prices.calibration.charged_total(prices.cost), trace, payer)
    bill = charge(prices.calibration, prices.puzzle, account, round, cumulative, payer, factor)
    queries = bill["queries"].cumsum()
    rows = pd.DataFrame(
        {
            "mode": mode,
            "row": range(len(bill)),
            "time": queries * prices.own_seconds,
            "queries": queries,
            "privacy": trace[prices.column].cumsum().to_numpy()[queries - 1],
        }
    )
    new = ~bill["account"].duplicated().to_numpy()
    seconds = bill["seconds"].to_numpy() + new * prices.account_seconds
    hashes = bill["expected_hashes"].to_numpy() + new * prices.account_hashes
    return _with_work(rows, seconds, hashes)


def _before(trace: pd.DataFrame, cost: np.ndarray) -> np.ndarray:
    """What each mode had cost before each of its rows, float64 `[n]`."""
    before: np.ndarray = pd.Series(cost).groupby(trace["mode"].to_numpy()).shift(fill_value=0.0).to_numpy()
    return before


def _with_work(rows: pd.DataFrame, seconds: np.ndarray, hashes: np.ndarray) -> pd.DataFrame:
    work = pd.DataFrame({"seconds": seconds, "hashes": hashes, "mode": rows["mode"].to_numpy()})
    totals = work.groupby("mode", sort=False)[["seconds", "hashes"]].cumsum()
    rows["time_pow"] = rows["time"].to_numpy() + totals["seconds"].to_numpy()
    rows["query_seconds"] = rows["time"]
    rows["pow_seconds"] = totals["seconds"].to_numpy()
    rows["total_seconds"] = rows["time_pow"]
    rows["overhead"] = rows["total_seconds"] / rows["query_seconds"]
    rows["expected_hashes"] = totals["hashes"].to_numpy()
    return rows
