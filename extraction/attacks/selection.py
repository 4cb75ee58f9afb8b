"""Choosing from a pool, round by round, by what the substitute or the defender's cost says of its images."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from extraction.attacks.base import Attacker, QueryAttack, pool_images
from training.batches import to_float
from training.fit import predict_logits
from training.seeds import generator


class PoolSelection(QueryAttack):
    """Asks about no image of the pool twice; the first round is random, since nothing is known yet."""

    def __init__(self) -> None:
        self.asked = torch.zeros(0, dtype=torch.int64)

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """The round's choice among the images left."""
        order = torch.randperm(len(attacker.pool), generator=generator(attacker.seed, "pool order"))
        left = order[~torch.isin(order, self.asked)]
        positions = self.choose(attacker, left, count) if self.knows_enough(attacker) else torch.arange(count)
        chosen = left[positions.cpu()[:count]]
        self.asked = torch.cat([self.asked, chosen])
        return pool_images(attacker, attacker.pool, chosen)

    def knows_enough(self, attacker: Attacker) -> bool:
        """Whether the attack can choose already."""
        return attacker.substitute is not None

    @abstractmethod
    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """Positions in `left`, the numbers of the pool's images not asked yet, in random order."""

    def state_dict(self) -> dict[str, Any]:
        """The numbers of the images asked."""
        return {"asked": self.asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Attack."""
        self.asked = state["asked"].cpu()


class UncertaintySelection(PoolSelection):
    """The images with the highest score of the substitute's answers; of equal ones a random choice."""

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """See PoolSelection."""
        assert attacker.substitute is not None
        images = attacker.pool.images[left.to(attacker.pool.images.device)]
        logits = predict_logits(attacker.substitute, images, attacker.hardware)
        return self.scores(logits).argsort(descending=True, stable=True)[:count]

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """Which images to ask about first, float `[n]`, of the substitute's logits `[n, classes]`."""


class CostSelection(PoolSelection):
    """The images by the defender's own cost under a measure, the cheapest first, or the costliest.

    An upper bound on what attackers can do: nobody but the defender knows these costs.
    """

    needs_cost = True

    def __init__(self, measure: str, most_expensive_first: bool) -> None:
        super().__init__()
        self.measure, self.most_expensive_first = measure, most_expensive_first
        self.costs = torch.zeros(0, dtype=torch.float64)

    def knows_enough(self, attacker: Attacker) -> bool:
        """From the start: no substitute is needed."""
        return True

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """See PoolSelection. The whole pool is priced once."""
        if not len(self.costs):
            self.costs = self._price(attacker)
        return self.costs[left].argsort(descending=self.most_expensive_first, stable=True)[:count]

    def _price(self, attacker: Attacker) -> Tensor:
        if attacker.costs is None:
            raise ValueError("this attack knows the defender's cost: add attack.knows=[cost]")
        costs = []
        for batch in attacker.pool.images.split(attacker.hardware.batch_size):
            priced = attacker.costs(to_float(batch.to(attacker.hardware.device)))
            if self.measure not in priced:
                raise ValueError(
                    f"attack.rule.measure must be one of {', '.join(priced)}, not {self.measure!r}"
                )
            costs.append(priced[self.measure].cpu())
        return torch.cat(costs)

    def state_dict(self) -> dict[str, Any]:
        """The numbers of the images asked, and the pool's costs."""
        return super().state_dict() | {"costs": self.costs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Attack."""
        super().load_state_dict(state)
        self.costs = state["costs"].cpu()
