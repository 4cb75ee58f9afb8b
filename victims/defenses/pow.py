"""Calibrated proof of work (Dziedzic et al. 2022): each answer is paid for by what the queries revealed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pow.calibration import Calibration
from pow.puzzles.settings import PuzzleSettings
from pow.requests import Scope, ScopeName, charge
from storage.identity import stable_id


@stable_id("defense/pow")
class ProofOfWork:
    """Charges for the cumulative privacy cost (of each account, or as `scope` says), request by request.

    In process the work is not done but priced, so it changes no answer.
    """

    def __init__(
        self,
        calibration: Calibration,
        puzzle: PuzzleSettings,
        cost: str = "pate",
        scope: ScopeName = "account",
        subnet_size: int = 256,
    ) -> None:
        self.calibration = calibration
        self.puzzle = puzzle
        self.cost = cost
        self.scope = Scope(scope, subnet_size)

    def bill(
        self,
        account: np.ndarray,
        round: np.ndarray,
        cumulative_cost: np.ndarray,
        factor: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """One row a request: round, account, queries, seconds, expected_hashes.

        The arguments have one entry a query, in the order asked; `cumulative_cost` is its payer's own, and
        `factor` multiplies the toll.
        """
        payer = self.scope.payer(account)
        return charge(self.calibration, self.puzzle, account, round, cumulative_cost, payer, factor)
