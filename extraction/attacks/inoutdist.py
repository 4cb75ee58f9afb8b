"""Rounds in and out of distribution by turns: out-of-distribution queries hide among ordinary ones."""

from __future__ import annotations

import torch
from torch import Tensor

from extraction.attacks.base import Attacker, QueryAttack, pool_images
from storage.identity import stable_id
from training.seeds import generator
from victims.datasets.images import ImageSet


@stable_id("attack/inoutdist")
class InOutDist(QueryAttack):
    """Asks about the pool in odd rounds, and about the other pool in even ones.

    Each pool is asked in random order, no image twice. When one is used up, the other takes its turns.
    """

    def __init__(self) -> None:
        self.taken = [0, 0]

    def supply(self, pool: ImageSet, other_pool: ImageSet | None) -> int | None:
        """Return the number of images in both pools."""
        return len(pool) + len(other_pool or ())

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """Choose the next images of the pool whose turn it is.

        Raises:
            ValueError: The attack has no second pool.
        """
        if attacker.other_pool is None:
            raise ValueError("attack.other_pool must name the second pool")
        pools = (attacker.pool, attacker.other_pool)
        turn = (attacker.round - 1) % 2
        if self.taken[turn] >= len(pools[turn]):
            turn = 1 - turn
        order = torch.randperm(len(pools[turn]), generator=generator(attacker.seed, "pool order", turn))
        chosen = order[self.taken[turn] : self.taken[turn] + count]
        self.taken[turn] += len(chosen)
        return pool_images(attacker, pools[turn], chosen)

    def state_dict(self) -> dict[str, list[int]]:
        """Return how many images of each pool were asked."""
        return {"taken": list(self.taken)}

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        """Restore the numbers of asked images."""
        self.taken = list(state["taken"])
