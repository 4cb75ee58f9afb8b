"""The worst case of the proof-of-work paper: a thief who knows the pkNN cost and asks the cheapest first."""

from __future__ import annotations

from extraction.selection import CostSelection


class WorstCase(CostSelection):
    """Asks first about images that the defender finds cheapest; `measure` names the cost."""

    def __init__(self, measure: str = "pknn") -> None:
        super().__init__(measure, dearest_first=False)
