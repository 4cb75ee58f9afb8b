"""Entropy cost: how undecided the victim's answer is."""

from __future__ import annotations

from torch import Tensor

from privacy import uncertainty
from storage.identity import stable_id
from victims.measures.base import Measure, MeasuredVictim


@stable_id("measure/entropy")
class EntropyCost(Measure):
    """Entropy of the victim's probabilities over log(classes), between 0 and 1."""

    label = "entropy"

    def __init__(self, victim: MeasuredVictim) -> None:
        del victim  # nothing of the victim is needed but its answers

    def columns(self, images: Tensor, log_probs: Tensor) -> dict[str, Tensor]:
        """`cost`, float64 `[n]`."""
        return {"cost": uncertainty.entropy(log_probs.double().exp())}
