"""The attacker's best response: the least work for the same answers, over the choices named here.

It is exact for each choice, by pricing the trace again; no query is asked anew. The choices are how many
accounts share the queries, and for a calibration that charges the distance from a line, cheap images between
them that bring the distance down. A potential can be steered by neither padding nor the cut into requests, so
there only accounts are tried. Pads are the cheapest of the trace's own images, and their own time is not
billed: an attacker who has cheaper images pays less still.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pow.calibration import Calibration, LineCalibration
from pow.calibration.progressive import ProgressiveCalibration
from pow.honest_users import Cumulative
from pow.puzzles.settings import PuzzleSettings
from pow.requests import charge
from pow.traces import by_payer, split_over_accounts

Evade = Literal["none", "pad", "split", "best"]

ACCOUNTS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Numbers of accounts that are tried, at most one a query."""

ACCOUNTS_OF_A_LINE = 100
"""As many at most for a calibration that charges by a line, whose costs are added up account by account."""

MOST_PADS = 20
"""Pads that are tried for each query on average, at most."""


@dataclass(frozen=True)
class Response:
    """A choice of the attacker, and what it costs.

    Attributes:
        accounts: Accounts that share the queries.
        pads: Queries that are asked for their price alone.
        seconds: Work in seconds of the reference client, the accounts' price included.
        expected_hashes: The same in expected hashes.
    """

    accounts: int
    pads: int
    seconds: float
    expected_hashes: float


@dataclass(frozen=True, eq=False)
class Pricelist:
    """What an attacker knows of a toll.

    Args:
        calibration: The toll's calibration.
        puzzle: The puzzle that is asked for.
        cost: Adds up the privacy measure of the toll over one payer's rows.
        measure: That measure's column, such as `cost_pate`.
        account_seconds: Work to open an account, in seconds of the reference client.
    """

    calibration: Calibration
    puzzle: PuzzleSettings
    cost: Cumulative
    measure: str
    account_seconds: float = 0.0

    def respond(self, rows: pd.DataFrame, evade: Evade) -> Response:
        """Return the cheapest way to ask the queries of a trace.

        Args:
            rows: Rows of the trace, in the order asked.
            evade: "none": as they are, by one account; "pad": with cheap images between; "split": over
                accounts; "best": whichever is cheapest.
        """
        responses = [self._split(rows, 1)]
        by_line = isinstance(self.calibration, LineCalibration)
        if evade in ("split", "best"):
            most = min(len(rows), ACCOUNTS_OF_A_LINE if by_line else ACCOUNTS[-1])
            responses += [self._split(rows, accounts) for accounts in ACCOUNTS[1:] if accounts <= most]
        if evade in ("pad", "best") and isinstance(self.calibration, LineCalibration):
            responses.append(self._padded(rows, self.calibration))
        return min(responses, key=lambda response: response.seconds)

    def _split(self, rows: pd.DataFrame, accounts: int) -> Response:
        if isinstance(self.calibration, ProgressiveCalibration):
            account = np.arange(len(rows)) * accounts // len(rows)
            gains = np.bincount(account, self.calibration.total.increments(rows, account))
            seconds = np.array([self.calibration.potential(gains).sum()])
            return self._response(accounts, 0, seconds, self.calibration.expected_hashes(seconds))
        return self._charged(split_over_accounts(rows, accounts), accounts, pads=0)

    def _padded(self, rows: pd.DataFrame, calibration: LineCalibration) -> Response:
        """As many of the cheapest image before each query as hold the cost at the line, or below it."""
        cost = rows[self.measure].to_numpy()
        cheapest, line = int(cost.argmin()), calibration.expected
        gained = line.slope - cost[cheapest]
        beyond = cost.cumsum() - line(np.arange(1, len(cost) + 1))
        pads = np.zeros(len(cost), dtype=np.int64)
        if gained > 0:
            needed = np.ceil(np.maximum(np.maximum.accumulate(beyond), 0) / gained)
            pads = np.diff(np.minimum(needed, MOST_PADS * len(cost)), prepend=0.0).astype(np.int64)
        position = np.repeat(np.arange(len(cost)), pads + 1)
        is_real = np.zeros(len(position), dtype=bool)
        is_real[(pads + 1).cumsum() - 1] = True
        padded = rows.iloc[np.where(is_real, position, cheapest)].assign(
            account=0, round=rows["round"].to_numpy()[position]
        )
        return self._charged(padded, 1, pads=int(pads.sum()))

    def _charged(self, rows: pd.DataFrame, accounts: int, pads: int) -> Response:
        """The bill of rows whose accounts are chosen."""
        account, round = rows["account"].to_numpy(), rows["round"].to_numpy()
        cumulative = by_payer(self.calibration.charged_total(self.cost), rows, account)
        bill = charge(self.calibration, self.puzzle, account, round, cumulative, account)
        work = (bill[name].to_numpy() for name in ("seconds", "expected_hashes"))
        return self._response(accounts, pads, *work)

    def _response(self, accounts: int, pads: int, seconds: np.ndarray, hashes: np.ndarray) -> Response:
        return Response(
            accounts,
            pads,
            float(seconds.sum()) + accounts * self.account_seconds,
            float(hashes.sum()) + self.opening_hashes(accounts),
        )

    def opening_hashes(self, accounts: int) -> float:
        """Expected hashes to open so many accounts."""
        if not self.account_seconds:
            return 0.0
        return accounts * float(self.calibration.expected_hashes(np.array([self.account_seconds]))[0])
