"""The interface of an attack: it asks a round's queries, and trains a substitute on the answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from extraction.transfer_set import TransferSet
from training.batches import to_float
from training.fit import fit
from training.recipe import Hardware, Recipe
from training.seeds import derive_seed, generator
from victims.datasets.images import ImageSet
from victims.types import Answer, AnswerKind

Ask = Callable[[Tensor], Answer]
"""Asks the victim about images float32 in [0, 1] `[n, c, h, w]` and returns their answers.

Each image is counted and charged, and kept with its answer in the transfer set. Raises BudgetExhausted when
the budget does not cover all of them."""

CostOracle = Callable[[Tensor], Mapping[str, Tensor]]
"""Returns the defender's own cost of images `[n, c, h, w]`: float64 `[n]` for each measure.

Only an attack with `knows: [cost]` may call it."""


@dataclass(frozen=True, eq=False)
class Attacker:
    """What the attacker has and knows in one round.

    Attributes:
        pool: The attacker's own images.
        transfer_set: Images asked so far, with their answers.
        substitute: The network trained on the answers so far; None before the first answer.
        round: Number of the round, from 1.
        seed: Seed of all the attacker's random choices.
        hardware: Where networks run.
        num_classes: Classes of the victim.
        student: The network that this round trains: a new one, or under `attack.warm_start` the substitute.
        other_pool: A second pool of images (`attack.other_pool`).
        costs: The defender's own costs, if the attack knows them (`attack.knows: [cost]`).
    """

    pool: ImageSet
    transfer_set: TransferSet
    substitute: nn.Module | None
    round: int
    seed: int
    hardware: Hardware
    num_classes: int
    student: nn.Module | None = None
    other_pool: ImageSet | None = None
    costs: CostOracle | None = None

    def random(self, *purpose: str | int) -> torch.Generator:
        """Return a CPU generator for one purpose in this round."""
        return generator(self.seed, *purpose, self.round)


class Attack(ABC):
    """Asks and learns, round by round.

    An attack draws random numbers from streams that depend on the attacker's seed and round only, so that a
    resumed extraction makes the same choices.
    """

    answers: ClassVar[tuple[AnswerKind, ...]] = get_args(AnswerKind)
    """Kinds of answers that the attack can work with."""

    needs_cost: ClassVar[bool] = False
    """Whether the attack has to know the defender's own costs (`knows: [cost]`)."""

    asks_as_honest: ClassVar[bool] = False
    """Whether it asks about its pool's images as they come. Of images of the victim's own kind, that is what
    an honest user asks."""

    keeps_transfer_set: ClassVar[bool] = True
    """Whether answers are kept for later rounds; not so where millions of answers are used at once."""

    def supply(self, pool: ImageSet, other_pool: ImageSet | None) -> int | None:
        """Return how many images the attack can ask about; None if it makes its own."""
        return len(pool)

    def check_substitute(self, network: nn.Module) -> None:
        """Raise ValueError, naming the option, where the attack cannot use such a substitute.

        Args:
            network: A new substitute, which is not used any further.
        """

    @abstractmethod
    def run_round(self, attacker: Attacker, ask: Ask, count: int) -> None:
        """Ask one round's queries.

        Args:
            attacker: What the attacker has in this round.
            ask: Asks the victim.
            count: Images that may be asked at most; an attack that cannot work with so few asks none.
        """

    def train(self, attacker: Attacker, network: nn.Module, recipe: Recipe) -> None:
        """Train the round's network in place; by default supervised, on the transfer set.

        Args:
            attacker: What the attacker has after this round's queries.
            network: The network to train (`attacker.student`).
            recipe: The substitute's recipe.
        """
        known = attacker.transfer_set
        seed = derive_seed(attacker.seed, "substitute training", attacker.round)
        fit(network, known.images, known.targets, recipe, attacker.hardware, seed)

    def state_dict(self) -> dict[str, Any]:
        """Return what the attack remembers between rounds, for the checkpoint; nothing by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class QueryAttack(Attack):
    """An attack that chooses all queries of a round before it asks the first."""

    @abstractmethod
    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """Choose the round's images: at most `count`, float32 in [0, 1] `[m, c, h, w]`; none end it."""

    def run_round(self, attacker: Attacker, ask: Ask, count: int) -> None:
        """Ask about the images that `queries` chooses."""
        images = self.queries(attacker, count)
        if len(images):
            ask(images)


def pool_images(attacker: Attacker, pool: ImageSet, index: Tensor) -> Tensor:
    """Return images of a pool as queries, on the attacker's device.

    Args:
        attacker: Its hardware names the device.
        pool: The attacker's pool, or its other pool.
        index: Positions in the pool, int64 `[n]`.

    Returns:
        Images float32 in [0, 1] `[n, c, h, w]`.
    """
    return to_float(pool.images[index.to(pool.images.device)].to(attacker.hardware.device))


def random_pool_images(attacker: Attacker, count: int) -> Tensor:
    """Return the pool's next `count` images in the seed's random order, `[count, c, h, w]`.

    The transfer set's length says how many were asked before, so no image comes twice.
    """
    order = torch.randperm(len(attacker.pool), generator=generator(attacker.seed, "pool order"))
    taken = len(attacker.transfer_set)
    return pool_images(attacker, attacker.pool, order[taken : taken + count])
