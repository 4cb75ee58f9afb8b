"""Margin sampling (Scheffer et al. 2001), as the proof-of-work paper's code has it."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.selection import UncertaintySelection
from storage.identity import stable_id


@stable_id("attack/gap")
class Gap(UncertaintySelection):
    """Asks first about images whose two likeliest classes are closest in the substitute's answer."""

    def scores(self, logits: Tensor) -> Tensor:
        """1 minus the difference of a softmax over the two largest logits."""
        first, second = logits.double().topk(2, dim=1).values.softmax(1).unbind(1)
        return 1 - (first - second)
