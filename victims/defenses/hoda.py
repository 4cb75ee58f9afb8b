"""HODA watches how hard the images of an account are.

Sadeghzadeh, Sobhanian, Dehghan, Jalili 2023, "Hardness of Samples Is All You Need: Protecting Deep Learning
Models Using Hardness of Samples". Checkpoints of the victim's training, the subclassifiers, tell how hard an
image is: its degree is the first checkpoint from which on all of them agree with the last (Definition 1).
Images that models are stolen with are harder than an honest user's. So each `samples` queries of an account
make a histogram of degrees, and the alarm is raised where 1 less its Pearson correlation with an honest
user's histogram exceeds a threshold: the largest such distance of `draws` random sets of that size.

The subclassifiers are those of a network trained like the victim, without a share of the training images that
are `held_out`: what an honest user's images are like is told by images that none of them has learned.
"""

from __future__ import annotations

from collections import defaultdict
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from storage.identity import stable_id
from storage.typed import Bounds, Count, Natural, Part, check_declared
from training.fit import fit, predict_logits
from training.recipe import Hardware, Recipe
from training.seeds import derive_seed, generator, seeded
from victims.architectures.build import Architecture, build_network
from victims.datasets.images import ImageSet
from victims.defenses.base import AtAlarm, AuxiliarySettings, DefendedVictim, Watch, Watching
from victims.types import Answer, QueryBatch


class Subclassifiers(nn.Module):
    """Checkpoints of one training, from the earliest to the last, and an honest user's histogram of degrees.

    Args:
        network: The network before its training.
        count: Number of checkpoints.
    """

    normal: Tensor

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.checkpoints = nn.ModuleList([deepcopy(network) for _ in range(count)])
        self.register_buffer("normal", torch.full((count,), 1 / count))

    def forward(self, images: Tensor) -> Tensor:
        """The hardness degrees float32 `[n]` of images in [0, 1], whole numbers from 0."""
        return degrees(torch.stack([it(images).argmax(1) for it in self.checkpoints], 1)).float()


def degrees(labels: Tensor) -> Tensor:
    """The first checkpoint from which on all agree with the last, int64 `[n]`; labels are `[n, count]`."""
    agree = (labels == labels[:, -1:]).long()
    return labels.shape[1] - agree.flip(1).cumprod(1).sum(1)


def histogram(hardness: Tensor, count: int) -> np.ndarray:
    """How often each degree below `count` comes, float64 `[count]`."""
    return torch.bincount(hardness.long().cpu(), minlength=count).double().numpy()


def pearson_distances(histograms: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """1 less the correlation of histograms `[n, count]` with the normal one `[count]`; 1 for a flat one."""
    own = histograms - histograms.mean(1, keepdims=True)
    other = normal - normal.mean()
    lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(other)
    flat = lengths == 0
    return np.where(flat, 1.0, 1 - own @ other / np.where(flat, 1.0, lengths))


@stable_id("subclassifiers")
@dataclass(frozen=True)
class SubclassifierSettings(AuxiliarySettings):
    """How the subclassifiers are made.

    Attributes:
        architecture: Factory of the network.
        recipe: How it is trained; the checkpoints are of equally many epochs after each other.
        seed: Seed of weights and training.
        count: Number of checkpoints, the trained network included; no more than there are epochs.
        held_out: Share of the images that are not trained on.

    Raises:
        ValueError: An option is out of range.
    """

    architecture: Architecture
    recipe: Recipe
    seed: Natural
    count: Annotated[int, Bounds(2)] = 5
    held_out: Part = 0.2

    def __post_init__(self) -> None:
        check_declared(self, "defense.hoda.subclassifiers")

    @property
    def checkpoints(self) -> int:
        """How many checkpoints the training leaves."""
        return min(self.count, self.recipe.epochs)

    def untrained(self, victim: nn.Module, train: ImageSet) -> nn.Module:
        """See AuxiliarySettings."""
        with seeded(self.seed, "subclassifiers"):
            network = build_network(self.architecture, train.image_shape, train.num_classes, train.images)
        return Subclassifiers(network, self.checkpoints)

    def fit(
        self, network: nn.Module, victim: nn.Module, train: ImageSet, hardware: Hardware
    ) -> dict[str, float]:
        """See AuxiliarySettings; tells the mean degree of the images that are held out."""
        assert isinstance(network, Subclassifiers)
        order = torch.randperm(len(train), generator=generator(self.seed, "held out"))
        known = order[max(1, round(self.held_out * len(train))) :].to(train.images.device)
        learner, states = deepcopy(network.checkpoints[0]), []

        def keep() -> None:
            states.append({name: it.detach().clone() for name, it in learner.state_dict().items()})

        seed = derive_seed(self.seed, "subclassifier training")
        images, labels = train.images[known], train.labels[known.to(train.labels.device)]
        fit(learner, images, labels, self.recipe, hardware, seed, after_epoch=keep)
        for number, checkpoint in enumerate(network.checkpoints, 1):
            checkpoint.load_state_dict(states[round(number * len(states) / self.checkpoints) - 1])
        hardware.place(network).eval()
        left = order[: len(order) - len(known)].to(train.images.device)
        hardness = predict_logits(network, train.images[left], hardware)
        network.normal.copy_(torch.from_numpy(histogram(hardness, self.checkpoints) / len(left)))
        return {"mean_degree": float(hardness.mean())}


@stable_id("defense/hoda")
class Hoda(Watching):
    """Raises an alarm for an account whose last `samples` images are harder than an honest user's.

    The alarm lasts. From then on the account gets no answer (`at_alarm: block`), or its toll is multiplied by
    `surcharge` (`charge`), or neither (`report`). The query at which it is raised is answered.

    Args:
        samples: Queries of an account that are compared together.
        draws: Random sets of an honest user's images, the farthest of which is no alarm yet.
        at_alarm: What follows.
        surcharge: See above.
        subclassifiers: By what hardness is told.

    Raises:
        ValueError: An option is out of range.
    """

    trains = "subclassifiers"

    def __init__(
        self,
        samples: Annotated[int, Bounds(2)],
        draws: Count,
        at_alarm: AtAlarm,
        surcharge: Annotated[float, Bounds(1)],
        subclassifiers: SubclassifierSettings,
    ) -> None:
        self.samples, self.draws, self.at_alarm, self.surcharge = samples, draws, at_alarm, surcharge
        self.subclassifiers = subclassifiers
        check_declared(self, "defense.hoda")
        self.judge: Judge | None = None

    def bind(self, victim: DefendedVictim) -> Watching:
        """See Watching; trains the subclassifiers, if the store lacks them."""
        network = victim.trained(self.subclassifiers)
        assert isinstance(network, Subclassifiers)
        normal = network.normal.double().cpu().numpy()
        random = np.random.default_rng(derive_seed(victim.seed, "normal users"))
        drawn = random.multinomial(self.samples, normal / normal.sum(), size=self.draws)
        bound = copy(self)
        threshold = float(pearson_distances(drawn.astype(float), normal).max())
        bound.judge = Judge(network, victim.hardware, normal, threshold)
        return bound

    def watch(self) -> Watch:
        """See Watching."""
        assert self.judge is not None, "bind comes first"
        return HodaWatch(self, self.judge)


@dataclass(frozen=True, eq=False)
class Judge:
    """What hardness is told by, an honest user's histogram, and how far such users lie from it at most."""

    network: Subclassifiers
    hardware: Hardware
    normal: np.ndarray
    threshold: float

    def hardness(self, images: Tensor) -> np.ndarray:
        """The degree of each image, int64 `[n]`."""
        return predict_logits(self.network, images, self.hardware).long().cpu().numpy()

    def distances(self, sets: np.ndarray) -> np.ndarray:
        """How far sets of degrees `[n, samples]` lie from an honest user's, float64 `[n]`."""
        histograms = (sets[:, :, None] == np.arange(len(self.normal))).sum(1)
        return pearson_distances(histograms.astype(float), self.normal)


@dataclass(eq=False)
class Account:
    """The degrees of an account's queries since its last set was compared, and whether it is suspect."""

    waiting: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    alarm: bool = False


class HodaWatch:
    """See Watch. Columns: `hoda_distance` at the last query of a set, NaN at the others, and `alarm`."""

    def __init__(self, hoda: Hoda, judge: Judge) -> None:
        self.hoda, self.judge = hoda, judge
        self.accounts: dict[int, Account] = defaultdict(Account)

    def is_blocked(self, account: int) -> bool:
        """See Watch."""
        return self.hoda.at_alarm == "block" and self.accounts[account].alarm

    def observe(self, batch: QueryBatch, answer: Answer) -> pd.DataFrame:
        """See Watch."""
        account, samples = self.accounts[batch.account], self.hoda.samples
        before = len(account.waiting)
        told = np.concatenate([account.waiting, self.judge.hardness(batch.images)])
        whole = len(told) // samples
        account.waiting = told[whole * samples :]
        found = np.full(len(told), np.nan)
        found[samples - 1 :: samples][:whole] = self.judge.distances(
            told[: whole * samples].reshape(whole, samples)
        )
        found = found[before:]
        alarms = np.maximum.accumulate((found > self.judge.threshold) | account.alarm)
        answered = len(found)
        if self.hoda.at_alarm == "block" and alarms.any():
            answered = int(alarms.argmax()) + 1
        account.alarm = bool(alarms[-1]) if len(alarms) else account.alarm
        return pd.DataFrame({"hoda_distance": found, "alarm": alarms})[:answered]
