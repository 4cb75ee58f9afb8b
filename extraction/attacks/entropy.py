"""Entropy sampling (Shannon 1948; Lewis and Gale 1994): where the substitute is least sure."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.selection import UncertaintySelection
from storage.identity import stable_id


@stable_id("attack/entropy")
class Entropy(UncertaintySelection):
    """Asks first about images whose answer by the substitute has the highest entropy."""

    def scores(self, logits: Tensor) -> Tensor:
        """Entropy of the substitute's probabilities, in nats."""
        return entropy(logits)


def entropy(logits: Tensor) -> Tensor:
    """-sum p log p of the softmax of logits `[n, classes]`: nats, float64 `[n]`."""
    log_probs = logits.double().log_softmax(1)
    return -(log_probs.exp() * log_probs).sum(1)
