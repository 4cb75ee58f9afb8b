"""What several cells need, made before they run."""

from __future__ import annotations

from experiment.artifacts.defending import bind_perturbations, bind_watching
from experiment.artifacts.honest_users import HonestCosts
from experiment.artifacts.metering import VictimMeter
from experiment.artifacts.victim import TrainedVictim
from experiment.components import Cell


def prepare(cell: Cell) -> None:
    """Put into the store what an extraction starts from.

    That is the victim, its teachers, what its defenses train, and, where a defense charges, the costs of
    honest users' images.
    """
    victim = TrainedVictim(cell).get()
    meter = VictimMeter(cell, victim)
    meter.meter()
    bind_perturbations(cell, victim)
    bind_watching(cell, victim)
    if cell.toll is not None:
        HonestCosts(cell, meter).get()
