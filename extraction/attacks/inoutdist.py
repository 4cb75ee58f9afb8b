"""In and out of distribution, by turns: an attacker who hides foreign queries among honest ones."""

from __future__ import annotations

import torch
from torch import Tensor

from extraction.attacks.base import Attacker, QueryAttack, pool_images
from storage.identity import stable_id
from training.seeds import generator
from victims.datasets.images import ImageSet


@stable_id("attack/inoutdist")
class InOutDist(QueryAttack):
    """Odd rounds ask about the pool, even ones about the other pool, each in random order and none twice.

    When one is used up, the other serves.
    """

    def __init__(self) -> None:
        self.taken = [0, 0]

    def supply(self, pool: ImageSet, other_pool: ImageSet | None) -> int | None:
        """Both pools."""
        return len(pool) + len(other_pool or ())

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """The next images of the round's pool."""
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
        """How many images of each pool were asked."""
        return {"taken": list(self.taken)}

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        """See Attack."""
        self.taken = list(state["taken"])
