"""Knockoff Nets with the random strategy (Orekondy, Schiele, Fritz 2019, section 4.2).

The attacker has no data of the victim's distribution. It asks about natural images of another data set, and
trains on the probabilities that the victim answers.
"""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.base import Attacker, QueryAttack, random_pool_images
from storage.identity import stable_id


@stable_id("attack/knockoff")
class Knockoff(QueryAttack):
    """Asks about an out-of-distribution pool in random order, no image twice."""

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """Choose the next `count` images of the pool's random order."""
        return random_pool_images(attacker, count)
