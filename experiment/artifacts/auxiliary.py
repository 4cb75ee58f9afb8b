"""The network that a defense trains beside the victim."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from experiment.artifacts.base import Artifact
from experiment.artifacts.victim import ServedVictim
from experiment.keys import Config
from storage.files import write_json, write_tensors
from storage.store import Entry
from victims.defenses.base import AuxiliarySettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainedAuxiliary(Artifact[nn.Module]):
    """A network trained for a defense, once for the victim's data and the settings."""

    victim: ServedVictim
    settings: AuxiliarySettings

    kind = "auxiliary"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        identity = self.cell.identity.auxiliary
        assert identity is not None, "it is asked for by the defense that configures it"
        return identity

    def make(self, directory: Path) -> None:
        """Train the network, and keep it with what its training found."""
        train, hardware = self.cell.data.train, self.cell.hardware
        started = time.perf_counter()
        log.info("training what a defense needs on %d images", len(train))
        network = self._untrained()
        found = self.settings.fit(network, self.victim.network, train, hardware)
        write_tensors(directory / "weights.pt", network.state_dict())
        write_json(directory / "result.json", {**found, "seconds": time.perf_counter() - started})

    def load(self, entry: Entry) -> nn.Module:
        """The network in evaluation mode, on the cell's device."""
        network = self._untrained()
        network.load_state_dict(torch.load(entry.path / "weights.pt", weights_only=True))
        return self.cell.hardware.place(network).eval()

    def _untrained(self) -> nn.Module:
        return self.settings.untrained(self.victim.network, self.cell.data.train)
