"""Core-set selection by greedy k-center (Sener and Savarese 2018, Algorithm 1)."""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.base import Thief
from extraction.k_center import features, k_center
from extraction.selection import PoolSelection


class Greedy(PoolSelection):
    """Asks about images that lie farthest, in the substitute's features, from all that was asked before."""

    def choose(self, thief: Thief, left: Tensor, count: int) -> Tensor:
        """See PoolSelection."""
        assert thief.substitute is not None
        images = thief.pool.images
        points, centers = (
            features(thief.substitute, images[index.to(images.device)], thief.hardware)
            for index in (left, self.asked)
        )
        return k_center(points, centers, min(count, len(left)))
