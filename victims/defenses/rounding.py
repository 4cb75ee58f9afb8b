"""Rounded probabilities (Tramèr et al. 2016, "Stealing Machine Learning Models via Prediction APIs")."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from storage.identity import stable_id
from storage.typed import Bounds, check_declared
from victims.defenses.base import DefendedVictim, Perturb, Perturbation


@stable_id("defense/rounding")
class Rounding(Perturbation):
    """Each probability to so many decimals; they need not sum to one then. Equal ones may be left."""

    def __init__(self, decimals: Annotated[int, Bounds(0, 15)]) -> None:
        self.decimals = decimals
        check_declared(self, "defense.rounding")

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation."""
        return self._perturb

    def _perturb(self, images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        return probabilities.double().round(decimals=self.decimals).float()
