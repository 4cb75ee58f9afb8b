"""The worst case of the proof-of-work paper on PATE: a thief who knows its cost asks the cheapest first."""

from __future__ import annotations

from extraction.attacks.worstcase import WorstCase


class WorstCasePate(WorstCase):
    """As WorstCase, of the PATE cost."""

    def __init__(self, measure: str = "pate") -> None:
        super().__init__(measure)
