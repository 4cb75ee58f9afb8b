"""Gap cost: how close the victim's second choice comes to its first."""

from __future__ import annotations

from torch import Tensor

from privacy import uncertainty
from storage.identity import stable_id
from victims.measures.base import Measure, MeasuredVictim


@stable_id("measure/gap")
class GapCost(Measure):
    """One minus the gap between the two largest probabilities, over their sum; between 0 and 1."""

    label = "gap"

    def __init__(self, victim: MeasuredVictim) -> None:
        del victim  # nothing of the victim is needed but its answers

    def columns(self, images: Tensor, log_probs: Tensor) -> dict[str, Tensor]:
        """`cost`, float64 `[n]`."""
        return {"cost": uncertainty.gap(log_probs.double().exp())}
