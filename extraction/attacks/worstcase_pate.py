"""The paper's worst case on PATE: an attacker who knows its cost asks the cheapest queries first."""

from __future__ import annotations

from extraction.attacks.worstcase import WorstCase
from storage.identity import stable_id


@stable_id("attack/worstcase_pate")
class WorstCasePate(WorstCase):
    """As WorstCase, of the PATE cost."""

    def __init__(self, measure: str = "pate") -> None:
        super().__init__(measure)
