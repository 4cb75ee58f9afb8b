"""The network that a defense misinforms by."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from experiment.artifacts.base import Artifact
from experiment.keys import Config
from storage.files import write_json
from storage.store import Entry
from training.fit import accuracy, fit, predict_logits
from training.reverse import reverse_cross_entropy
from training.seeds import derive_seed, seeded
from victims.architectures.build import build_network
from victims.defenses.base import MisinformerSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainedMisinformer(Artifact[nn.Module]):
    """A network trained to be wrong on the victim's images, once for its data, architecture and recipe."""

    settings: MisinformerSettings

    kind = "misinformers"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        identity = self.cell.identity.misinformer
        assert identity is not None, "it is asked for by the defense that configures it"
        return identity

    def make(self, directory: Path) -> None:
        """Train the network, and keep it with its accuracy on the images that it was trained on."""
        train, hardware, settings = self.cell.data.train, self.cell.hardware, self.settings
        started = time.perf_counter()
        log.info("training the network that misinforms on %d images", len(train))
        network, seed = self._untrained(), derive_seed(settings.seed, "misinformer training")
        fit(network, train.images, train.labels, settings.recipe, hardware, seed, loss=reverse_cross_entropy)
        torch.save(network.state_dict(), directory / "weights.pt")
        right = accuracy(predict_logits(network, train.images, hardware), train.labels)
        seconds = time.perf_counter() - started
        write_json(directory / "result.json", {"train_accuracy": right, "seconds": seconds})

    def load(self, entry: Entry) -> nn.Module:
        """The network in evaluation mode, on the cell's device."""
        network = self._untrained()
        network.load_state_dict(torch.load(entry.path / "weights.pt", weights_only=True))
        return self.cell.hardware.place(network).eval()

    def _untrained(self) -> nn.Module:
        train = self.cell.data.train
        with seeded(self.settings.seed, "misinformer"):
            return build_network(
                self.settings.architecture, train.image_shape, train.num_classes, train.images
            )
