"""Core-set selection by greedy k-center (Sener and Savarese 2018, Algorithm 1)."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.base import Attacker
from extraction.attacks.k_center import features, k_center
from extraction.attacks.selection import PoolSelection
from storage.identity import stable_id


@stable_id("attack/greedy")
class Greedy(PoolSelection):
    """Asks about the images that lie farthest from all asked images in the substitute's feature space."""

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """Choose `count` images by greedy k-center around the images asked before."""
        assert attacker.substitute is not None
        images = attacker.pool.images
        points, centers = (
            features(attacker.substitute, images[index.to(images.device)], attacker.hardware)
            for index in (left, self.asked)
        )
        return k_center(points, centers, min(count, len(left)))
