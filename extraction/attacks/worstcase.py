"""The worst case of the proof-of-work paper: the attacker asks queries of low pkNN cost first."""

from __future__ import annotations

from extraction.attacks.selection import CostSelection
from storage.identity import stable_id


@stable_id("attack/worstcase")
class WorstCase(CostSelection):
    """Asks first about the images with the lowest cost under `measure`."""

    def __init__(self, measure: str = "pknn") -> None:
        super().__init__(measure, most_expensive_first=False)
