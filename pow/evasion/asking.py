"""Ways to ask: who asks which queries, in which requests, with which pads between, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from pow.calibration import Calibration, LineCalibration
from pow.calibration.progressive import ProgressiveCalibration
from pow.honest_users import Cumulative
from pow.puzzles.settings import PuzzleSettings
from pow.requests import Scope, asked_hashes, opening_hashes
from pow.traces import by_payer

ACCOUNTS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Numbers of accounts that are tried, at most one a query."""

MOST_PADS, MOST_PADS_COMPOSED = 50, 5
"""Most pads a query; the second where costs do not add up plainly, which takes far longer to compute."""

MOST_COMPOSED = 100
"""Most accounts where costs do not add up plainly, since each account is then summed by itself."""


@dataclass(frozen=True, eq=False)
class Pricelist:
    """What an attacker is charged by.

    Args:
        calibration: From what queries reveal to seconds.
        puzzle: What the work is.
        cost: Adds up the privacy measure that is charged.
        column: The column of each query's own cost.
        own_seconds: Seconds of a query without work, which pads take too.
        account_seconds: Price of an account, in seconds of the reference client.
        scope: Whose costs add up.
        patience_days: Days that an attacker waits for its allowances to refill.
        adds_up: Whether `cost` returns plain sums of the column; accounts are then summed at once.
    """

    calibration: Calibration
    puzzle: PuzzleSettings
    cost: Cumulative
    column: str
    own_seconds: float
    account_seconds: float = 0.0
    scope: Scope = field(default_factory=Scope)
    patience_days: float = 0.0
    adds_up: bool = True

    @property
    def most_pads(self) -> int:
        """Most pads a query that are tried."""
        return MOST_PADS if self.adds_up else MOST_PADS_COMPOSED

    @cached_property
    def account_hashes(self) -> float:
        """Expected hashes of the puzzle that an account costs."""
        return opening_hashes(self.calibration, self.puzzle, self.account_seconds)

    @cached_property
    def forgiven(self) -> float:
        """Gain that each payer is forgiven while it waits."""
        calibration = self.calibration
        if not isinstance(calibration, ProgressiveCalibration) or calibration.recovery_days is None:
            return 0.0
        return calibration.allowance * self.patience_days / calibration.recovery_days


def cheapest_row(column: str, *tables: pd.DataFrame) -> pd.DataFrame:
    """Return the row of the tables that costs least, as a table of one: what an attacker pads with."""
    rows = pd.concat([table.nsmallest(1, column) for table in tables], ignore_index=True)
    return rows.nsmallest(1, column)


class Bills(NamedTuple):
    """What one way to ask costs at each end; arrays `[ends]`. Hashes are None until they are asked for."""

    strategy: str
    size: int
    seconds: np.ndarray
    hashes: np.ndarray | None
    accounts: np.ndarray
    pads: np.ndarray


@dataclass(frozen=True, eq=False)
class Asked:
    """The queries of a trace, and when the attacker may stop."""

    rows: pd.DataFrame
    ends: np.ndarray
    prices: Pricelist
    pad: pd.DataFrame | None
    factor: np.ndarray | None

    @cached_property
    def segment(self) -> np.ndarray:
        """The first end that each query is asked for, int `[n]`."""
        return np.searchsorted(self.ends, np.arange(len(self.rows)), side="right")

    @cached_property
    def round(self) -> np.ndarray:
        """The round of each query."""
        return self.rows["round"].to_numpy()

    @cached_property
    def padded(self) -> pd.DataFrame:
        """The rows, with the pad's below them."""
        pad = cheapest_row(self.prices.column, self.rows) if self.pad is None else self.pad
        return pd.concat([self.rows, pad], ignore_index=True)

    @cached_property
    def pad_cost(self) -> float:
        """What a pad costs among as many as there are queries."""
        pads = self.padded.iloc[np.full(len(self.rows), len(self.rows))]
        return float(self.prices.cost(pads)[-1] / len(pads))

    @property
    def raised(self) -> bool:
        """Whether an alarm raised the toll."""
        return self.factor is not None and bool((self.factor[: len(self.rows)] != 1).any())

    def dealt(self, accounts: int | None) -> np.ndarray:
        """The account of each query `[n]`, by turns; None: as recorded."""
        if accounts is None:
            return self.rows["account"].to_numpy()
        return np.arange(len(self.rows)) % accounts

    def numbers(self) -> tuple[int, ...]:
        """Numbers of accounts to try."""
        plain = self.prices.adds_up or isinstance(self.prices.calibration, ProgressiveCalibration)
        most = len(self.rows) if plain else min(len(self.rows), MOST_COMPOSED)
        return tuple(number for number in ACCOUNTS if number <= most)


class Layout:
    """Who asks which query, and the pads between; bills follow for every size of requests."""

    def __init__(self, asked: Asked, accounts: int | None, pads: np.ndarray | None = None) -> None:
        self.asked = asked
        self.dealt = asked.dealt(accounts)
        pads = np.zeros(len(self.dealt), dtype=np.int64) if pads is None else pads
        self.pads = pads.cumsum()[asked.ends - 1]
        self.accounts = (~pd.Series(self.dealt).duplicated()).to_numpy().cumsum()[asked.ends - 1]
        self.index = np.repeat(np.arange(len(pads)), pads + 1)
        self.real = np.zeros(len(self.index), dtype=bool)
        self.real[(pads + 1).cumsum() - 1] = True
        self.account = self.dealt[self.index]
        self.payer = asked.prices.scope.payer(self.account)

    @cached_property
    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """The payer's totals before and after each query, float64 `[n]`."""
        after = self._totals()
        if np.isnan(after).any():
            raise ValueError("a query without a cost (NaN) cannot be priced")
        return shifted_by(after, self.payer), after

    def _totals(self) -> np.ndarray:
        prices, rows = self.asked.prices, self.asked.rows
        if prices.adds_up and isinstance(prices.calibration, LineCalibration):
            cost = rows[prices.column].to_numpy(dtype=np.float64)[self.index]
            return summed_by(cost if self.real.all() else np.where(self.real, cost, self._pad()), self.payer)
        if not self.real.all():
            rows = self.asked.padded.iloc[np.where(self.real, self.index, len(rows))]
        if isinstance(prices.calibration, ProgressiveCalibration):
            return summed_by(prices.calibration.total.increments(rows, self.payer), self.payer)
        return by_payer(prices.calibration.charged_total(prices.cost), rows, self.payer)

    def _pad(self) -> float:
        return float(self.asked.padded[self.asked.prices.column].iloc[-1])

    @cached_property
    def waited(self) -> tuple[np.ndarray, np.ndarray]:
        """The levels of payers who wait as early as they can; see best_response."""
        before, after = self.levels
        level = np.maximum(before - self.asked.prices.forgiven, 0.0)
        return level, level + (after - before)

    @cached_property
    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """An order that keeps each account's queries of a round together, and each one's place among them."""
        order = np.argsort(self.account, kind="stable")
        account, round = self.account[order], self.asked.round[self.index[order]]
        starts = np.ones(len(order), dtype=bool)
        starts[1:] = (account[1:] != account[:-1]) | (round[1:] != round[:-1])
        place = np.arange(len(order))
        return order, place - np.maximum.accumulate(np.where(starts, place, 0))

    def bills(self, strategy: str, size: int, wait: bool = False) -> Bills:
        """What it costs in requests of at most `size` queries."""
        asked, prices = self.asked, self.asked.prices
        order, place = self.sorted
        before, after = self.waited if wait else self.levels
        first = place % size == 0
        is_last = np.append(first[1:], True)
        charged = prices.calibration.charged(before[order], after[order], self._queries[order], is_last)
        seconds = np.add.reduceat(charged, np.flatnonzero(first))
        last = self.index[order[is_last]]
        if asked.factor is not None:
            seconds = seconds * asked.factor[last]
        hashes = asked_hashes(prices.calibration, prices.puzzle, seconds)
        work, hashed = (
            np.bincount(asked.segment[last], each, minlength=len(asked.ends)).cumsum()
            for each in (seconds, hashes)
        )
        work += self.accounts * prices.account_seconds
        hashed += self.accounts * prices.account_hashes
        return Bills(strategy, size, work, hashed, self.accounts, self.pads)

    @cached_property
    def _queries(self) -> np.ndarray:
        return counted_by(self.payer)


def summed_by(values: np.ndarray, payer: np.ndarray) -> np.ndarray:
    """Each payer's sum of values `[n]` so far, with this one included, float64 `[n]`."""
    total: np.ndarray = pd.Series(values).groupby(payer).cumsum().to_numpy()
    return total


def shifted_by(totals: np.ndarray, payer: np.ndarray) -> np.ndarray:
    """The total `[n]` that each payer had at its query before, float64 `[n]`; 0 at its first."""
    before: np.ndarray = pd.Series(totals).groupby(payer).shift(fill_value=0.0).to_numpy()
    return before


def counted_by(payer: np.ndarray) -> np.ndarray:
    """Each payer's number of queries so far, with this one included, `[n]`."""
    queries: np.ndarray = pd.Series(payer).groupby(payer).cumcount().to_numpy() + 1
    return queries
