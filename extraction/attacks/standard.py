"""Random queries from the victim's own distribution, as honest users ask them."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.base import Attacker, QueryAttack, random_pool_images
from storage.identity import stable_id


@stable_id("attack/standard")
class Standard(QueryAttack):
    """Asks about the in-distribution pool in random order, no image twice."""

    asks_as_honest = True

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """Choose the next `count` images of the pool's random order."""
        return random_pool_images(attacker, count)
