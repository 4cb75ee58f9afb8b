"""What an attack is: how a round of queries is asked, and what is trained on the answers."""

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
"""Asks about images float32 in [0, 1] `[n, c, h, w]`: each is counted, charged and kept with its answer.

Raises BudgetExhausted when the budget does not cover them all."""

CostOracle = Callable[[Tensor], Mapping[str, Tensor]]
"""The defender's own cost of images, float64 `[n]` a measure, as nobody but `knows: [cost]` may see it."""


@dataclass(frozen=True, eq=False)
class Attacker:
    """What an attacker has in a round (numbered from 1).

    `substitute` is the network trained on the answers so far; None before the first answer. `student` is the
    one that this round trains: a new one, or with `attack.warm_start` the substitute itself. `other_pool` is
    a second pool (attack.other_pool), `costs` the capability of `attack.knows`.
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
        """A stream of random numbers for one purpose in this round."""
        return generator(self.seed, *purpose, self.round)


class Attack(ABC):
    """Asks and learns round by round. Randomness comes from the attacker's seed and round alone, so that a
    resumed extraction makes the same choices."""

    answers: ClassVar[tuple[AnswerKind, ...]] = get_args(AnswerKind)
    """What an interface must give for the attack to work."""

    needs_cost: ClassVar[bool] = False
    """Whether the attack assumes the defender's own cost (`knows: [cost]`)."""

    keeps_transfer_set: ClassVar[bool] = True
    """Whether answers are kept for later rounds; one that asks millions learns from each as it comes."""

    def supply(self, pool: ImageSet, other_pool: ImageSet | None) -> int | None:
        """How many images the attack can ask about; None where it makes its own."""
        return len(pool)

    @abstractmethod
    def run_round(self, attacker: Attacker, ask: Ask, count: int) -> None:
        """Ask about at most `count` images; about none if that is too few to go on."""

    def train(self, attacker: Attacker, network: nn.Module, recipe: Recipe) -> None:
        """Train the round's network, in place, on the transfer set: supervised, by default."""
        known = attacker.transfer_set
        seed = derive_seed(attacker.seed, "substitute training", attacker.round)
        fit(network, known.images, known.targets, recipe, attacker.hardware, seed)

    def state_dict(self) -> dict[str, Any]:
        """What the attack remembers between rounds, for the checkpoint; nothing by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""


class QueryAttack(Attack):
    """Chooses all of a round's queries at once."""

    @abstractmethod
    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """At most `count` images to ask about next, float32 in [0, 1] `[m, c, h, w]`, m >= 1."""

    def run_round(self, attacker: Attacker, ask: Ask, count: int) -> None:
        """Ask about what `queries` chooses."""
        ask(self.queries(attacker, count))


def pool_images(attacker: Attacker, pool: ImageSet, index: Tensor) -> Tensor:
    """Images of a pool as queries, float32 in [0, 1] `[n, c, h, w]` on the attacker's device."""
    return to_float(pool.images[index.to(pool.images.device)].to(attacker.hardware.device))


def random_pool_images(attacker: Attacker, count: int) -> Tensor:
    """The next `count` images of the pool in the seed's random order, none twice: `[count, c, h, w]`.

    The transfer set's length says how many were taken before.
    """
    order = torch.randperm(len(attacker.pool), generator=generator(attacker.seed, "pool order"))
    taken = len(attacker.transfer_set)
    return pool_images(attacker, attacker.pool, order[taken : taken + count])
