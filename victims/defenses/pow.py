"""Calibrated proof of work (Dziedzic et al. 2022): each answer is paid for by what the queries revealed."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import pandas as pd

from pow.calibration import Calibration
from pow.puzzles.settings import PuzzleSettings
from pow.requests import Scope, ScopeName, charge
from storage.identity import stable_id
from storage.options import check_options
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
        subnet_size: int = 256,
        account_seconds: float = 0.0,
    ) -> None:
        self.cost = cost
        self.scope = Scope(scope, subnet_size)
        self.account_seconds = account_seconds
        check_options(
            self, "defense.pow", "account_seconds", valid=lambda price: 0 <= price < inf, rule="at least 0"
        )

    def bind(self, calibration: Calibration, puzzle: PuzzleSettings) -> Charge:
        """See Charging."""
        return CalibratedWork(calibration, puzzle, self.cost, self.scope)


@dataclass(frozen=True, eq=False)
class CalibratedWork:
    """What proof of work bills; see Charge."""

    calibration: Calibration
    puzzle: PuzzleSettings
    cost: str
    scope: Scope

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
