"""What an attack is: a rule for the next images to ask about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from extraction.transfer_set import TransferSet
from training.batches import to_float
from training.recipe import Hardware
from training.seeds import generator
from victims.datasets.images import ImageSet


@dataclass(frozen=True, eq=False)
class Thief:
    """What a thief has when it chooses the queries of a round (numbered from 1).

    `substitute` is the network trained on the answers so far; None before the first answer.
    """

    pool: ImageSet
    transfer_set: TransferSet
    substitute: nn.Module | None
    round: int
    seed: int
    hardware: Hardware


class Attack(ABC):
    """Chooses queries round by round. Randomness comes from `thief.seed` and `thief.round` alone, so that
    a resumed extraction makes the same choices."""

    repeats = False
    """Whether the attack can go on when each image of the pool was asked about (by making images)."""

    @abstractmethod
    def queries(self, thief: Thief, count: int) -> Tensor:
        """At most `count` images to ask about next, float32 in [0, 1] `[m, c, h, w]`, m >= 1."""

    def state_dict(self) -> dict[str, Any]:
        """What the attack remembers between rounds, for the checkpoint; nothing by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""


def random_pool_images(thief: Thief, count: int) -> Tensor:
    """The next `count` images of the pool in the seed's random order, none twice: `[count, c, h, w]`.

    The transfer set's length says how many were taken before.
    """
    order = torch.randperm(len(thief.pool), generator=generator(thief.seed, "pool order"))
    taken = len(thief.transfer_set)
    index = order[taken : taken + count].to(thief.pool.images.device)
    return to_float(thief.pool.images[index].to(thief.hardware.device))
