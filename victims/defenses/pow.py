"""Calibrated proof of work (Dziedzic et al. 2022): each answer is paid for by what the queries revealed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pow.calibration import Calibration
from pow.requests import charge
from victims.types import Oracle


class ProofOfWork:
    """Charges each account for its cumulative privacy cost, request by request.

    In process the work is not done but priced: the answers are those of the wrapped oracle.
    """

    changes_answers = False

    def __init__(self, calibration: Calibration, cost: str = "pate") -> None:
        self.calibration = calibration
        self.cost = cost

    def wrap(self, oracle: Oracle) -> Oracle:
        """The oracle itself: work changes no answer."""
        return oracle

    def bill(self, account: np.ndarray, round: np.ndarray, cumulative_cost: np.ndarray) -> pd.DataFrame:
        """One row a request: round, account, queries, seconds, expected_hashes.

        The arguments have one entry a query, in the order asked; `cumulative_cost` is the account's own.
        """
        return charge(self.calibration, account, round, cumulative_cost)
