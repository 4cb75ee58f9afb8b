"""What defenses are: those that change answers, that watch, and that charge, stacked in this order.

A defense's file holds a class that the option of the same name instantiates. What it needs of the trained
victim it gets later, by `bind`, so that wrong options are refused before anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from storage.identity import stable_id
from training.recipe import Hardware, Recipe
from victims.architectures.build import Architecture
from victims.datasets.images import ImageSet
from victims.types import Answer, QueryBatch


@stable_id("misinformer")
@dataclass(frozen=True)
class MisinformerSettings:
    """A network that answers wrongly on purpose: what it is, how it is trained, and from which seed."""

    architecture: Architecture
    recipe: Recipe
    seed: int


@dataclass(frozen=True, eq=False)
class DefendedVictim:
    """The defender's side of a victim, as defenses see it.

    `misinformer` trains a network to be wrong on the victim's images, once, or finds it in the store. `seed`
    is that of the defender's random choices.
    """

    network: nn.Module
    train: ImageSet
    hardware: Hardware
    seed: int
    misinformer: Callable[[MisinformerSettings], nn.Module]


Perturb = Callable[[Tensor, Tensor, int], Tensor]
"""The changed probabilities, float32 `[n, classes]`, of images in [0, 1] `[n, c, h, w]`, the victim's
probabilities, and how many queries were answered before. It sees no account: all are answered alike."""


class Perturbation(Protocol):
    """A defense that changes answers."""

    def bind(self, victim: DefendedVictim) -> Perturb:
        """What changes this victim's answers; raises ValueError naming the option where it cannot."""
        ...


class Watch(Protocol):
    """What a defense that watches has seen of each account; its state is a matter of `observe` alone."""

    def is_blocked(self, account: int) -> bool:
        """Whether the account gets no further answer."""
        ...

    def observe(self, batch: QueryBatch, answer: Answer) -> pd.DataFrame:
        """Take note of queries and their answers: the trace's columns, a row a query that is answered.

        Fewer rows than queries where the account is blocked from one of them on.
        """
        ...


class Watching(Protocol):
    """A defense that watches. Its option says what happens `at_alarm`: report, block or charge."""

    at_alarm: str
    surcharge: float

    def watch(self) -> Watch:
        """A watch that has seen nothing yet."""
        ...


def kept_label(changed: Tensor, probabilities: Tensor) -> Tensor:
    """`changed` `[n, classes]` with the largest entry where `probabilities` has it, ties broken by one ulp.

    For answers in which that entry is among the largest already, but for rounding errors.
    """
    label = probabilities.argmax(1, keepdim=True)
    others = changed.scatter(1, label, -torch.inf).amax(1, keepdim=True)
    above = torch.nextafter(others, torch.full_like(others, torch.inf))
    return changed.scatter(1, label, torch.maximum(changed.gather(1, label), above))
