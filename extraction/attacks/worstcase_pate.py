"""The worst case of the proof-of-work paper on PATE: the attacker asks queries of low PATE cost first."""

from __future__ import annotations

from extraction.attacks.worstcase import WorstCase
from storage.identity import stable_id


@stable_id("attack/worstcase_pate")
class WorstCasePate(WorstCase):
    """Asks first about the images with the lowest PATE cost."""

    def __init__(self, measure: str = "pate") -> None:
        super().__init__(measure)
