"""Reverse sigmoid.

Lee et al. 2018, "Defending Against Machine Learning Model Stealing Attacks Using Deceptive Perturbations".
"""

from __future__ import annotations

from torch import Tensor

from storage.identity import stable_id
from victims.defenses.base import DefendedVictim, Perturb, Perturbation


@stable_id("defense/reverse_sigmoid")
class ReverseSigmoid(Perturbation):
    """y' = a * (y - beta * (sigmoid(gamma * logit(y)) - 1/2)), with a so that the entries sum to one.

    What `beta` above one makes negative is 0 instead. Several answers y have the same y'.
    """

    def __init__(self, beta: float, gamma: float) -> None:
        if not beta >= 0:
            raise ValueError(f"defense.reverse_sigmoid.beta must be at least 0, not {beta!r}")
        if not gamma > 0:
            raise ValueError(f"defense.reverse_sigmoid.gamma must be above 0, not {gamma!r}")
        self.beta, self.gamma = beta, gamma

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation."""
        return self._perturb

    def _perturb(self, images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        y = probabilities.double().clamp(0, 1)
        deviation = (self.gamma * y.logit()).sigmoid() - 0.5  # the logit may be infinite
        changed = (y - self.beta * deviation).clamp_min(0)
        return (changed / changed.sum(1, keepdim=True)).float()
