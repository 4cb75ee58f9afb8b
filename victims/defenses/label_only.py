"""No more than the label (Tramèr et al. 2016, "Stealing Machine Learning Models via Prediction APIs")."""

from __future__ import annotations

from torch import Tensor, nn

from storage.identity import stable_id
from victims.defenses.base import DefendedVictim, Perturb, Perturbation


@stable_id("defense/label_only")
class LabelOnly(Perturbation):
    """One for the class with the largest probability, 0 for the others."""

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation."""
        return self._perturb

    def _perturb(self, images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        return nn.functional.one_hot(probabilities.argmax(1), probabilities.shape[1]).float()
