"""Calibrated proof of work (Dziedzic et al. 2022): each answer is paid for by what the queries revealed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pow.calibration import Calibration
from pow.puzzles.settings import PuzzleSettings
from pow.requests import Scope, ScopeName, charge
from storage.identity import stable_id
from storage.typed import Count, NonNegative, check_value
from victims.defenses.base import Charge, Charging


@stable_id("defense/pow")
class ProofOfWork(Charging):
    """Charges for the cumulative privacy cost (of each account, or as `scope` says), request by request.

    In process the work is not done but priced, so it changes no answer. A new account costs
    `account_seconds` of the reference client. Raises ValueError naming the option.
    """

    def __init__(
        self,
        cost: str = "pate",
        scope: ScopeName = "account",
        subnet_size: Count = 256,
        account_seconds: NonNegative = 0.0,
    ) -> None:
        self.cost, self.account_seconds = cost, account_seconds
        self.scope = Scope(scope, subnet_size)
        check_value("defense.pow.account_seconds", account_seconds, NonNegative)

    def bind(self, calibration: Calibration, puzzle: PuzzleSettings) -> Charge:
        """See Charging."""
        return CalibratedWork(calibration, puzzle, self.cost, self.scope, self.account_seconds)


@dataclass(frozen=True, eq=False)
class CalibratedWork:
    """What proof of work bills; see Charge."""

    calibration: Calibration
    puzzle: PuzzleSettings
    cost: str
    scope: Scope
    account_seconds: NonNegative = 0.0

    def bill(
        self,
        account: np.ndarray,
        round: np.ndarray,
        cumulative_cost: np.ndarray,
        factor: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """See Charge."""
        payer = self.scope.payer(account)
        return charge(self.calibration, self.puzzle, account, round, cumulative_cost, payer, factor)
