"""Core-set selection by greedy k-center (Sener and Savarese 2018, Algorithm 1)."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.base import Attacker
from extraction.attacks.k_center import features, k_center
from extraction.attacks.selection import PoolSelection
from storage.identity import stable_id


@stable_id("attack/greedy")
class Greedy(PoolSelection):
    """Asks about images that lie farthest, in the substitute's features, from all that was asked before."""

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """See PoolSelection."""
        assert attacker.substitute is not None
        images = attacker.pool.images
        points, centers = (
            features(attacker.substitute, images[index.to(images.device)], attacker.hardware)
            for index in (left, self.asked)
        )
        return k_center(points, centers, min(count, len(left)))
