"""The trained victim of a cell."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from experiment.artifacts.base import Artifact, read_result
from experiment.keys import Config
from storage.files import write_json, write_tensors
from storage.store import Entry
from training.fit import accuracy, predict_logits
from training.recipe import Hardware
from victims.architectures.function import is_trainable
from victims.victim import build_victim, make_victim

log = logging.getLogger(__name__)

ONE_IN_100 = 2.33
"""Standard deviations above which a normal variable is once in 100 times."""


@dataclass(frozen=True, eq=False)
class ServedVictim:
    """A victim that can be asked: its network, its accuracy on the test images, its key in the store."""

    network: nn.Module
    hardware: Hardware
    accuracy: float
    key: str

    def log_probabilities(self, images: Tensor) -> Tensor:
        """What the network itself says of images `[n, c, h, w]`: float32 `[n, classes]`."""
        return predict_logits(self.network, images, self.hardware).log_softmax(1)

    def labels(self, images: Tensor) -> Tensor:
        """The classes that the network sees in images `[n, c, h, w]`: int64 `[n]`."""
        return predict_logits(self.network, images, self.hardware).argmax(1)


class TrainedVictim(Artifact[ServedVictim]):
    """The victim, trained or loaded from `victim.checkpoint`."""

    kind = "victims"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        return self.cell.identity.victim

    def make(self, directory: Path) -> None:
        """Train the network, measure its accuracy, and keep both."""
        started = time.perf_counter()
        data, hardware = self.cell.data, self.cell.hardware
        checkpoint = self.cell.victim.checkpoint
        if not is_trainable(build_victim(self.cell.victim, data.train)):
            log.info("the victim is a function, which is asked as it is")
        elif checkpoint is None:
            log.info("training the victim on %d images", len(data.train))
        else:
            normalized = "with" if self.cell.victim.normalizes else "without"
            log.info("loading the victim from %s, %s normalisation in front", checkpoint, normalized)
        network = make_victim(self.cell.victim, data.train, hardware)
        right = accuracy(predict_logits(network, data.test.images, hardware), data.test.labels)
        log.info("victim: accuracy %.2f %% on %d test images", 100 * right, len(data.test))
        if checkpoint is not None:
            self._compare(right)
        write_tensors(directory / "weights.pt", network.state_dict())
        seconds = time.perf_counter() - started
        write_json(directory / "result.json", {"accuracy": right, "seconds": seconds})

    def _compare(self, right: float) -> None:
        """Say so where a checkpoint is more accurate with the other choice of `victim.normalize`."""
        other = not self.cell.victim.normalizes
        try:
            settings = replace(self.cell.victim, normalize=other)
            network = make_victim(settings, self.cell.data.train, self.cell.hardware)
        except ValueError:  # the weights hold a normalisation of their own
            return
        test = self.cell.data.test
        better = accuracy(predict_logits(network, test.images, self.cell.hardware), test.labels)
        if better > right:
            choice = str(other).lower()
            log.warning(
                "with victim.normalize=%s the checkpoint's accuracy is %.2f %%, and not %.2f %%: it seems to "
                "have been trained so",
                *(choice, 100 * better, 100 * right),
            )

    def load(self, entry: Entry) -> ServedVictim:
        """The network in evaluation mode, on the cell's device."""
        hardware = self.cell.hardware
        network = build_victim(self.cell.victim, self.cell.data.train)
        network.load_state_dict(torch.load(entry.path / "weights.pt", weights_only=True))
        network = hardware.place(network).eval()
        right, labels = read_result(entry)["accuracy"], self.cell.data.test.labels
        if right <= by_guessing(labels):
            log.warning(
                "the victim's accuracy of %.2f %% on %d test images may be that of guessing: there is "
                "nothing to steal yet; raise victim.recipe.epochs, or give it more images",
                *(100 * right, len(labels)),
            )
        return ServedVictim(network, hardware, right, entry.key)


def by_guessing(labels: Tensor) -> float:
    """The accuracy that who always answers the commonest label exceeds once in 100 such samples, at most."""
    share = float(labels.bincount().max() / len(labels))
    return share + ONE_IN_100 * math.sqrt(share * (1 - share) / len(labels))
