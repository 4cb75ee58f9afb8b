"""A trace as an attacker would ask it who evades the toll: a row a round, each the best response so far."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from pow.evasion.asking import Pricelist
from pow.evasion.best_response import Evade, best_responses
from storage.options import check_choice


def replay_evaded(
    trace: pd.DataFrame,
    prices: Pricelist,
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
        prices: What the attacker is charged by.
        evade: What it tries; a ValueError says what there is.
        mode: Name of the trace.
        pad: See best_responses.
        factor: See best_responses.
    """
    check_choice("--evade", evade, Evade)
    round = trace["round"].to_numpy()
    ends = np.append(np.flatnonzero(round[1:] != round[:-1]) + 1, len(round))
    found = pd.DataFrame([asdict(each) for each in best_responses(trace, ends, prices, evade, pad, factor)])
    time = ends * prices.own_seconds
    padded = time + found["pads"].to_numpy() * prices.own_seconds + found["seconds"].to_numpy()
    return pd.DataFrame(
        {
            "mode": mode,
            "row": range(len(ends)),
            "time": time,
            "queries": ends,
            "privacy": trace[prices.column].cumsum().to_numpy()[ends - 1],
            "time_pow": padded,
            "query_seconds": time,
            "pow_seconds": found.pop("seconds"),
            "total_seconds": padded,
            "overhead": padded / time,
            "expected_hashes": found.pop("expected_hashes"),
            **found,
        }
    )
