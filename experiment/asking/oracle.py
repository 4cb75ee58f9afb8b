"""Whom a cell's attack asks: the victim in this process, or the server that stands in its place."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from experiment.asking.remote import RemoteVictim
from experiment.components import Cell
from gate.client import Client, Willing
from victims.defenses.base import Perturb
from victims.meter import Meter
from victims.oracle import VictimOracle
from victims.types import Oracle


def victim_oracle(cell: Cell, network: nn.Module, meter: Meter, perturbations: Sequence[Perturb]) -> Oracle:
    """The victim `network` behind what changes its answers, metered, as `oracle` says."""
    remote, settings = cell.remote, cell.settings
    if remote is None:
        shape = cell.data.train.image_shape
        return VictimOracle(
            network, shape, meter, cell.hardware, settings.answers, settings.top_k, perturbations
        )
    willing = Willing(max_hashes=remote.max_hashes, workers=remote.workers)
    clients = [Client(remote.url, key, willing) for key in remote.keys[: remote.accounts]]
    return RemoteVictim(clients, network, meter, cell.hardware, settings.answers, perturbations)
