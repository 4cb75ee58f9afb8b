"""Whom a cell's attack asks: the victim in this process, or the server that stands in its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from experiment.asking.journal import Journal, JournaledOracle
from experiment.asking.remote import RemoteVictim, WrongServer
from experiment.components import Cell
from gate.client import Client, Refused, Willing
from victims.defenses.base import Perturb, Watch
from victims.meter import Meter
from victims.oracle import BudgetedOracle, VictimOracle
from victims.types import Oracle

UNUSABLE = (WrongServer, Refused)
"""Errors of an oracle that cannot be asked as the config says."""


def budgeted_oracle(
    cell: Cell,
    network: nn.Module,
    meter: Meter,
    perturbations: Sequence[Perturb],
    watch: Watch | None,
    journal: Journal,
    next_round: int,
) -> Oracle:
    """The victim, watched where a defense watches, within the budget, with every answer on record.

    Args:
        cell: Says how the victim is asked, and the budget.
        network: The victim's own network.
        meter: Records what each query reveals.
        perturbations: What changes the network's answers, in order.
        watch: What watches its accounts, if a defense does.
        journal: The answers on record, which are not asked again.
        next_round: The round that the extraction goes on with; what was asked before is spent.
    """
    oracle = _victim_oracle(cell, network, meter, perturbations, journal.directory / "gate")
    remembers = any(it.remembers for it in cell.stack.perturbations)
    remind = oracle.remind if remembers and isinstance(oracle, VictimOracle) else None
    journaled = JournaledOracle(oracle, meter, journal, cell.hardware.device, watch, next_round, remind)
    return BudgetedOracle(journaled, cell.settings.budget, spent=journal.queries_before(next_round))


def _victim_oracle(
    cell: Cell, network: nn.Module, meter: Meter, perturbations: Sequence[Perturb], keep: Path
) -> Oracle:
    """The victim `network` behind what changes its answers, metered, as `oracle` says."""
    remote, settings = cell.remote, cell.settings
    if remote is None:
        shape = cell.data.train.image_shape
        return VictimOracle(
            network, shape, meter, cell.hardware, settings.answers, settings.top_k, perturbations
        )
    willing = Willing(max_hashes=remote.max_hashes, workers=remote.workers)
    clients = [Client(remote.url, key, willing) for key in remote.keys[: remote.accounts]]
    return RemoteVictim(clients, network, meter, cell.hardware, settings.answers, perturbations, keep)
