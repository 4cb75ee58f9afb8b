"""The largest probabilities only (Tramèr et al. 2016; Orekondy et al. 2019, "Knockoff Nets")."""

from __future__ import annotations

from torch import Tensor

from storage.identity import stable_id
from storage.typed import Count, check_declared
from victims.answers import largest_only
from victims.defenses.base import DefendedVictim, Perturb, Perturbation


@stable_id("defense/top_k")
class TopK(Perturbation):
    """The `k` largest probabilities as they are, the others 0."""

    def __init__(self, k: Count) -> None:
        self.k = k
        check_declared(self, "defense.top_k")

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation."""
        return self._perturb

    def _perturb(self, images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        return largest_only(probabilities, min(self.k, probabilities.shape[1]))
