"""The paper's worst case: an attacker who knows the pkNN cost asks the cheapest queries first."""

from __future__ import annotations

from extraction.attacks.selection import CostSelection
from storage.identity import stable_id


@stable_id("attack/worstcase")
class WorstCase(CostSelection):
    """Asks first about images that the defender finds cheapest; `measure` names the cost."""

    def __init__(self, measure: str = "pknn") -> None:
        super().__init__(measure, most_expensive_first=False)
