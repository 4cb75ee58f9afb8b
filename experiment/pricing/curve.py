"""From an extraction's rounds and trace to the curve: what each point cost, counted and in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment.pricing.bills import Billing, add_bills
from experiment.pricing.evading import add_cheapest, add_chosen, responses
from extraction.checkpoint import RoundResult
from pow.calibration import REQUEST_QUERIES
from pow.evasion.asking import Pricelist
from pow.honest_users import Cumulative
from pow.traces import by_payer
from privacy.accountant import Accounting

MEASURED_WORK = {"solve_seconds": "measured_solve_seconds", "tried_hashes": "measured_hashes"}
"""Columns of a trace whose queries were paid with work, and the curve's columns of their sums."""


@dataclass(frozen=True)
class TraceAccounting:
    """How the costs in a trace add up: by RDP for the measures named here, by plain sums for the others."""

    by_measure: Mapping[str, Accounting]

    def cumulative(self, trace: pd.DataFrame, measure: str) -> np.ndarray:
        """Cost of each row of a trace together with all rows before it, float64 `[n]`."""
        accounting = self.by_measure.get(measure)
        if accounting is None or accounting.is_the_papers:
            return trace[f"cost_{measure}"].to_numpy().cumsum()  # which the trace holds already
        return accounting.cumulative(trace[f"log_q_{measure}"].to_numpy(copy=True)).numpy()

    def adding_up(self, measure: str) -> Cumulative:
        """What adds up the cost of the rows of one payer under a measure."""
        return lambda rows: self.cumulative(rows, measure)

    def adds_up(self, measure: str) -> bool:
        """Whether the cost of several rows is the plain sum of theirs."""
        accounting = self.by_measure.get(measure)
        return accounting is None or accounting.is_the_papers

    def prices(self, billing: Billing, request_seconds: float) -> Pricelist:
        """What an attacker is charged by; `request_seconds` is the time of a request without work."""
        toll = billing.toll
        return Pricelist(
            calibration=toll.calibration,
            puzzle=toll.puzzle,
            cost=self.adding_up(toll.cost),
            column=f"cost_{toll.cost}",
            own_seconds=request_seconds / REQUEST_QUERIES,
            account_seconds=toll.account_seconds,
            scope=toll.scope,
            adds_up=self.adds_up(toll.cost),
        )


def build_curve(
    rounds: Sequence[RoundResult],
    trace: pd.DataFrame,
    measures: Sequence[str],
    accounting: TraceAccounting,
    request_seconds: float,
    billing: Billing | None,
) -> pd.DataFrame:
    """One row a round; cumulative but for round, accuracy, fidelity, the overheads and difficulty_bits.

    `request_seconds` is the time of a request of 64 queries without proof of work. Counted figures come
    first; `measured_*` are seconds that this machine took.
    """
    curve = pd.DataFrame(
        {
            "round": [result.round for result in rounds],
            "queries": [result.queries for result in rounds],
            "accuracy": [result.accuracy for result in rounds],
            "fidelity": [result.fidelity for result in rounds],
        }
    )
    last = curve["queries"].to_numpy() - 1
    for measure in measures:
        curve[f"cost_{measure}"] = accounting.cumulative(trace, measure)[last]
    curve["query_seconds"] = curve["queries"] / REQUEST_QUERIES * request_seconds
    _add_work(curve, trace, accounting.prices(billing, request_seconds) if billing else None, billing)
    curve["measured_query_seconds"] = np.cumsum([result.query_time for result in rounds])
    for column in MEASURED_WORK.keys() & trace.columns:
        curve[MEASURED_WORK[column]] = trace[column].cumsum().to_numpy()[last]
    curve["measured_train_seconds"] = np.cumsum([result.train_time for result in rounds])
    curve["measured_peak_mib"] = [result.peak_memory / 2**20 for result in rounds]
    return curve


def _add_work(
    curve: pd.DataFrame, trace: pd.DataFrame, prices: Pricelist | None, billing: Billing | None
) -> None:
    """Adds what the attacker pays, in seconds, hashes and bills, and the least that it could pay."""
    work = _work_by_round(curve["round"], trace, prices, billing)
    found = responses(trace, curve["queries"].to_numpy(), billing, prices) if billing and prices else None
    curve["pow_seconds"] = work["seconds"].cumsum().to_numpy()
    curve["total_seconds"] = curve["query_seconds"] + curve["pow_seconds"]
    curve["overhead"] = curve["total_seconds"] / curve["query_seconds"]
    curve["expected_hashes"] = work["expected_hashes"].cumsum().to_numpy()
    curve["difficulty_bits"] = work["difficulty_bits"].to_numpy()
    add_chosen(curve, found)
    add_bills(curve, billing)
    add_cheapest(curve, found, billing)


def _work_by_round(
    rounds: pd.Series, trace: pd.DataFrame, prices: Pricelist | None, billing: Billing | None
) -> pd.DataFrame:
    """Seconds, expected hashes and mean difficulty bits of each round's requests; zero without a toll.

    An account is paid for in the round that it first asks in.
    """
    columns = ["seconds", "expected_hashes", "difficulty_bits"]
    if billing is None or prices is None:
        return pd.DataFrame(0.0, index=rounds, columns=columns)
    toll, asked = billing.toll, trace[trace["round"] <= rounds.max()]
    account = asked["account"].to_numpy()
    cumulative = by_payer(toll.calibration.charged_total(prices.cost), asked, toll.scope.payer(account))
    bill = toll.bill(account, asked["round"].to_numpy(), cumulative, billing.factor(asked))
    bill["difficulty_bits"] = np.log2(bill["expected_hashes"])
    by_round = bill.groupby("round").agg(
        {"seconds": "sum", "expected_hashes": "sum", "difficulty_bits": "mean"}
    )
    by_round = by_round.reindex(rounds)[columns]
    new = asked[~asked["account"].duplicated()].groupby("round").size().reindex(rounds, fill_value=0)
    by_round["seconds"] += new * prices.account_seconds
    by_round["expected_hashes"] += new * prices.account_hashes
    return by_round
