"""Reverse sigmoid.

Lee et al. 2018, "Defending Against Machine Learning Model Stealing Attacks Using Deceptive Perturbations".
"""

from __future__ import annotations

from torch import Tensor

from storage.identity import stable_id
from storage.typed import NonNegative, Positive, check_declared
from victims.defenses.base import DefendedVictim, Perturb, Perturbation, kept_label


@stable_id("defense/reverse_sigmoid")
class ReverseSigmoid(Perturbation):
    """y' = a * (y - beta * (sigmoid(gamma * logit(y)) - 1/2)), with a so that the entries sum to one.

    What `beta` above one makes negative is 0 instead. Several answers y have the same y'. Among them are
    small ones: y' of 0 is a * beta / 2, so the label may change where the label's own y' is less. With the
    paper's beta 0.8 and gamma 0.2 that is so below a probability of 0.381. `keep_label` swaps the two then.
    """

    def __init__(self, beta: NonNegative, gamma: Positive, keep_label: bool = False) -> None:
        self.beta, self.gamma, self.keep_label = beta, gamma, keep_label
        check_declared(self, "defense.reverse_sigmoid")

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation."""
        return self._perturb

    def _perturb(self, images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        y = probabilities.double().clamp(0, 1)
        deviation = (self.gamma * y.logit()).sigmoid() - 0.5  # the logit may be infinite
        changed = (y - self.beta * deviation).clamp_min(0)
        answers = (changed / changed.sum(1, keepdim=True)).float()
        return swapped(answers, probabilities) if self.keep_label else answers


def swapped(changed: Tensor, probabilities: Tensor) -> Tensor:
    """`changed` `[n, classes]` with its largest entry and that of the label of `probabilities` swapped."""
    label = probabilities.argmax(1, keepdim=True)
    largest, place = changed.max(1, keepdim=True)
    own = changed.gather(1, label)
    return kept_label(changed.scatter(1, place, own).scatter(1, label, largest), probabilities)
