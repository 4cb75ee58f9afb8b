"""Margin sampling (Scheffer et al. 2001), as implemented in the code of the proof-of-work paper."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.selection import UncertaintySelection
from storage.identity import stable_id


@stable_id("attack/gap")
class Gap(UncertaintySelection):
    """Asks first about the images whose two most likely classes are closest, by the substitute."""

    def scores(self, logits: Tensor) -> Tensor:
        """Return 1 minus the difference of the two probabilities of a softmax over the two largest logits."""
        first, second = logits.double().topk(2, dim=1).values.softmax(1).unbind(1)
        return 1 - (first - second)
