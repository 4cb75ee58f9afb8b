"""A trace as an attacker would ask it who evades the toll: a row a round, each the best response so far."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from pow.asking import Terms, cheapest_row
from pow.best_response import Evade, best_responses
from pow.calibration import REQUEST_QUERIES, Calibration
from pow.puzzles.settings import PuzzleSettings
from pow.requests import Scope
from storage.options import check_choice

__all__ = ["Evade", "cheapest_row", "replay_evaded", "replay_terms", "with_accounts"]


def replay_terms(
    calibration: Calibration,
    puzzle: PuzzleSettings,
    cost: str,
    request_seconds: float,
    scope: Scope,
    account_seconds: float,
    patience_days: float = 0.0,
) -> Terms:
    """Return what the attacker of a trace is charged by, whose costs add up plainly; see Terms.

    Args:
        calibration: From what queries reveal to seconds.
        puzzle: What the work is.
        cost: The measure that is charged.
        request_seconds: Seconds of a request of 64 queries without work.
        scope: Whose costs add up.
        account_seconds: Price of an account, in seconds of the reference client.
        patience_days: Days that an attacker waits who evades the toll.

    Raises:
        ValueError: The price is below 0, or not finite.
    """
    if not 0 <= account_seconds < np.inf:
        raise ValueError(f"--account-seconds must be at least 0, not {account_seconds:g}")
    column = f"cost_{cost}"
    return Terms(
        calibration=calibration,
        puzzle=puzzle,
        cost=lambda rows: rows[column].to_numpy().cumsum(),
        column=column,
        own_seconds=request_seconds / REQUEST_QUERIES,
        account_seconds=account_seconds,
        scope=scope,
        patience_days=patience_days,
    )


def replay_evaded(
    trace: pd.DataFrame,
    terms: Terms,
    evade: Evade,
    mode: str,
    pad: pd.DataFrame | None = None,
    factor: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return the columns of replay_queries, a row a round, for an attacker who stops after it.

    Every figure is of all queries until then. Pads take time too: time_pow holds it, and time does not. The
    columns strategy, accounts, pads and request_size say how it asks.

    Args:
        trace: Rows of a trace, with round and account.
        terms: What the attacker is charged by.
        evade: What it tries; a ValueError says what there is.
        mode: Name of the trace.
        pad: See best_responses.
        factor: See best_responses.
    """
    check_choice("--evade", evade, Evade)
    round = trace["round"].to_numpy()
    ends = np.append(np.flatnonzero(round[1:] != round[:-1]) + 1, len(round))
    found = pd.DataFrame([asdict(each) for each in best_responses(trace, ends, terms, evade, pad, factor)])
    time = ends * terms.own_seconds
    padded = time + found["pads"].to_numpy() * terms.own_seconds + found["seconds"].to_numpy()
    return pd.DataFrame(
        {
            "mode": mode,
            "row": range(len(ends)),
            "time": time,
            "queries": ends,
            "privacy": trace[terms.column].cumsum().to_numpy()[ends - 1],
            "time_pow": padded,
            "query_seconds": time,
            "pow_seconds": found.pop("seconds"),
            "total_seconds": padded,
            "overhead": padded / time,
            "expected_hashes": found.pop("expected_hashes"),
            **found,
        }
    )


def with_accounts(bill: pd.DataFrame, terms: Terms) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds and hashes of each request of a bill, with the price of an account in its first one."""
    new = ~bill["account"].duplicated().to_numpy()
    seconds = bill["seconds"].to_numpy() + new * terms.account_seconds
    return seconds, bill["expected_hashes"].to_numpy() + new * terms.account_hashes
