"""Reversed entropy sampling: ask where the substitute is most certain, since such queries cost least."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.entropy import entropy
from extraction.attacks.selection import UncertaintySelection
from storage.identity import stable_id


@stable_id("attack/entropyrev")
class EntropyReversed(UncertaintySelection):
    """Asks first about the images for which the substitute's probabilities have the lowest entropy."""

    def scores(self, logits: Tensor) -> Tensor:
        """Return minus the entropy of the substitute's probabilities in nats."""
        return -entropy(logits)
