"""Entropy sampling reversed: the images that the substitute is surest of, which a defense finds cheapest."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.entropy import entropy
from extraction.attacks.selection import UncertaintySelection
from storage.identity import stable_id


@stable_id("attack/entropyrev")
class EntropyReversed(UncertaintySelection):
    """Asks first about images whose answer by the substitute has the lowest entropy."""

    def scores(self, logits: Tensor) -> Tensor:
        """Minus the entropy of the substitute's probabilities, in nats."""
        return -entropy(logits)
