"""Entropy sampling (Shannon 1948; Lewis and Gale 1994): ask where the substitute is least certain."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.selection import UncertaintySelection
from storage.identity import stable_id


@stable_id("attack/entropy")
class Entropy(UncertaintySelection):
    """Asks first about the images for which the substitute's probabilities have the highest entropy."""

    def scores(self, logits: Tensor) -> Tensor:
        """Return the entropy of the substitute's probabilities in nats."""
        return entropy(logits)


def entropy(logits: Tensor) -> Tensor:
    """Return -sum p log p in nats, float64 `[n]`, where p is the softmax of logits `[n, classes]`."""
    log_probs = logits.double().log_softmax(1)
    return -(log_probs.exp() * log_probs).sum(1)
