"""Maximum privacy cost: ask first about the images that reveal most, by the defender's own measure."""

from __future__ import annotations

from extraction.attacks.selection import CostSelection
from storage.identity import stable_id


@stable_id("attack/maxprivacy")
class MaxPrivacy(CostSelection):
    """Asks first about the images with the highest cost under `measure`."""

    def __init__(self, measure: str = "pate") -> None:
        super().__init__(measure, most_expensive_first=True)
