"""What defenses are: those that change answers, that watch, and that charge, stacked in this order.

A defense's file holds a class that the option of the same name instantiates. Its base class says what kind
it is. What is known only after training it gets by `bind`, so that wrong options are refused before anything
is trained.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pow.calibration import Calibration
from pow.puzzles.settings import PuzzleSettings
from pow.requests import Scope
from storage.identity import stable_id
from storage.typed import Natural
from training.fit import accuracy, fit, predict_logits
from training.recipe import Hardware, Recipe
from training.reverse import reverse_cross_entropy
from training.seeds import derive_seed, seeded
from victims.architectures.build import Architecture, build_network
from victims.datasets.images import ImageSet
from victims.types import Answer, QueryBatch


class AuxiliarySettings(ABC):
    """How a defense trains a network beside the victim, once; the store keeps it."""

    @abstractmethod
    def untrained(self, victim: nn.Module, train: ImageSet) -> nn.Module:
        """The network before it is trained; raises ValueError if it does not fit the data."""

    @abstractmethod
    def fit(
        self, network: nn.Module, victim: nn.Module, train: ImageSet, hardware: Hardware
    ) -> dict[str, float]:
        """Train what `untrained` returned, in place, on the victim's images.

        Args:
            network: The network.
            victim: The victim's own. Only a defense with `trains_by_asking` may ask it.
            train: The victim's images.
            hardware: Where networks are trained.

        Returns:
            What is worth telling of the training, by name.
        """


@stable_id("misinformer")
@dataclass(frozen=True)
class MisinformerSettings(AuxiliarySettings):
    """A network that answers wrongly on purpose: what it is, how it is trained, and from which seed."""

    architecture: Architecture
    recipe: Recipe
    seed: Natural

    def untrained(self, victim: nn.Module, train: ImageSet) -> nn.Module:
        """See AuxiliarySettings."""
        with seeded(self.seed, "misinformer"):
            return build_network(self.architecture, train.image_shape, train.num_classes, train.images)

    def fit(
        self, network: nn.Module, victim: nn.Module, train: ImageSet, hardware: Hardware
    ) -> dict[str, float]:
        """See AuxiliarySettings."""
        seed = derive_seed(self.seed, "misinformer training")
        fit(network, train.images, train.labels, self.recipe, hardware, seed, loss=reverse_cross_entropy)
        return {"train_accuracy": accuracy(predict_logits(network, train.images, hardware), train.labels)}


@dataclass(frozen=True, eq=False)
class DefendedVictim:
    """The defender's side of a victim, as defenses see it.

    `trained` trains what a defense needs beside the victim, once, or finds it in the store. `seed` is that of
    the defender's random choices.
    """

    network: nn.Module
    train: ImageSet
    hardware: Hardware
    seed: Natural
    trained: Callable[[AuxiliarySettings], nn.Module]


Perturb = Callable[[Tensor, Tensor, int], Tensor]
"""The changed probabilities, float32 `[n, classes]`, of images in [0, 1] `[n, c, h, w]`, the victim's
probabilities, and how many queries were answered before. It sees no account: all are answered alike."""


Kind = Literal["changes", "watches", "charges"]
"""What a defense does; a stack has them in this order."""


class Defense(ABC):
    """A defense of one kind; subclass Perturbation, Watching or Charging."""

    kind: ClassVar[Kind]

    trains: ClassVar[str | None] = None
    """The option that holds the AuxiliarySettings of the network that it trains, if it trains one."""

    trains_by_asking: ClassVar[bool] = False
    """Whether that network is trained on the victim's answers, and so is another for another victim."""


class Perturbation(Defense):
    """A defense that changes answers."""

    kind = "changes"

    remembers: ClassVar[bool] = False
    """Whether answers depend on earlier queries: then it sees these again when an extraction is resumed."""

    @property
    def repeats_itself(self) -> bool:
        """Whether the same image gets the same answer."""
        return True

    @abstractmethod
    def bind(self, victim: DefendedVictim) -> Perturb:
        """What changes this victim's answers; raises ValueError naming the option where it cannot."""


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


AtAlarm = Literal["report", "block", "charge"]


class Watching(Defense):
    """A defense that watches. Its option says what happens `at_alarm`.

    report: nothing more. block: the account gets no further answer. charge: its toll is multiplied by
    `surcharge` from then on.
    """

    kind = "watches"

    at_alarm: AtAlarm
    surcharge: float

    def bind(self, victim: DefendedVictim) -> Watching:
        """This defense for a victim; the same one where it needs nothing of the victim."""
        return self

    @abstractmethod
    def watch(self) -> Watch:
        """A watch that has seen nothing yet, of what `bind` returned."""

    @classmethod
    def seen_in_trace(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that can change the trace: what of them is in the extraction's key.

        An alarm that is charged for leaves the same trace as one that is reported.
        """
        told = {name: value for name, value in options.items() if name != "surcharge"}
        return told | {"at_alarm": "block" if told.get("at_alarm") == "block" else "report"}


class Charge(Protocol):
    """What bills queries: a defense that charges, bound to a calibration and a puzzle."""

    @property
    def calibration(self) -> Calibration:
        """From privacy costs to seconds."""
        ...

    @property
    def puzzle(self) -> PuzzleSettings:
        """What the work is."""
        ...

    @property
    def cost(self) -> str:
        """The privacy measure that is charged."""
        ...

    @property
    def scope(self) -> Scope:
        """Whose costs add up."""
        ...

    @property
    def account_seconds(self) -> float:
        """Work to open an account, in seconds of the reference client."""
        ...

    def bill(
        self,
        account: np.ndarray,
        round: np.ndarray,
        cumulative_cost: np.ndarray,
        factor: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """The bills of queries, grouped into requests.

        Args:
            account: Who asks, int `[n]`, in the order asked.
            round: The attack's round, int `[n]`.
            cumulative_cost: Its payer's own cost with the query included, float64 `[n]`.
            factor: What multiplies the toll of each query, float64 `[n]`; None for 1.

        Returns:
            A row a request: round, account, queries, seconds, expected_hashes.
        """
        ...


class Charging(Defense):
    """A defense that charges for what the measure `cost` says that queries revealed."""

    kind = "charges"

    cost: str

    @abstractmethod
    def bind(self, calibration: Calibration, puzzle: PuzzleSettings) -> Charge:
        """What bills, once the calibration knows what an honest user costs."""


def kept_label(changed: Tensor, probabilities: Tensor) -> Tensor:
    """`changed` `[n, classes]` with the largest entry where `probabilities` has it, ties broken by one ulp.

    For answers in which that entry is among the largest already, but for rounding errors.
    """
    label = probabilities.argmax(1, keepdim=True)
    others = changed.scatter(1, label, -torch.inf).amax(1, keepdim=True)
    above = torch.nextafter(others, torch.full_like(others, torch.inf))
    return changed.scatter(1, label, torch.maximum(changed.gather(1, label), above))
