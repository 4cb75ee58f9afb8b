"""Selection from a pool, round by round, by the substitute's answers or by the defender's costs."""

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
    """An attack that selects images of its pool, none twice.

    It takes random images until it knows enough to choose.
    """

    def __init__(self) -> None:
        self.asked = torch.zeros(0, dtype=torch.int64)

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """Choose among the images that were not asked yet."""
        order = torch.randperm(len(attacker.pool), generator=generator(attacker.seed, "pool order"))
        left = order[~torch.isin(order, self.asked)]
        positions = self.choose(attacker, left, count) if self.knows_enough(attacker) else torch.arange(count)
        chosen = left[positions.cpu()[:count]]
        self.asked = torch.cat([self.asked, chosen])
        return pool_images(attacker, attacker.pool, chosen)

    def knows_enough(self, attacker: Attacker) -> bool:
        """Return whether the attack can choose; by default, once there is a substitute."""
        return attacker.substitute is not None

    @abstractmethod
    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """Choose up to `count` of the images left.

        Args:
            attacker: What the attacker has in this round.
            left: Positions in the pool of the images not asked yet, in random order, int64 `[n]`.
            count: How many to choose.

        Returns:
            Positions in `left`, the first choice first, int64 `[m]`; those beyond `count` are ignored.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the positions of the asked images."""
        return {"asked": self.asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the positions of the asked images."""
        self.asked = state["asked"].cpu()


class UncertaintySelection(PoolSelection):
    """Selects the images with the highest score of the substitute's answers; ties are broken at random."""

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """Choose the `count` images with the highest scores."""
        assert attacker.substitute is not None
        images = attacker.pool.images[left.to(attacker.pool.images.device)]
        logits = predict_logits(attacker.substitute, images, attacker.hardware)
        return self.scores(logits).argsort(descending=True, stable=True)[:count]

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """Return scores, float `[n]`, of the substitute's logits `[n, classes]`; the highest come first."""


class CostSelection(PoolSelection):
    """Selects images by the defender's own cost, the cheapest or the most expensive first.

    It is an upper bound on what attackers can do, since only the defender knows these costs.

    Args:
        measure: Name of the privacy measure whose cost counts, such as `pknn`.
        most_expensive_first: Whether the most expensive images come first; false: the cheapest.
    """

    needs_cost = True

    def __init__(self, measure: str, most_expensive_first: bool) -> None:
        super().__init__()
        self.measure, self.most_expensive_first = measure, most_expensive_first
        self.costs = torch.zeros(0, dtype=torch.float64)

    def knows_enough(self, attacker: Attacker) -> bool:
        """Return True: the choice needs no substitute."""
        return True

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """Choose the `count` cheapest or most expensive images; the first call prices the whole pool."""
        if not len(self.costs):
            self.costs = self._price(attacker)
        return self.costs[left].argsort(descending=self.most_expensive_first, stable=True)[:count]

    def _price(self, attacker: Attacker) -> Tensor:
        """Return the cost of each image of the pool, float64 `[n]`."""
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
        """Return the positions of the asked images, and the pool's costs."""
        return super().state_dict() | {"costs": self.costs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the positions of the asked images, and the pool's costs."""
        super().load_state_dict(state)
        self.costs = state["costs"].cpu()
