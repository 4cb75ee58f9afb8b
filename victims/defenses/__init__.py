"""Defenses: one file each, mounted under `defense.<name>` in the config, stacked in the given order."""

from victims.defenses.base import (
    Charge,
    Charging,
    DefendedVictim,
    Defense,
    Perturb,
    Perturbation,
    Watch,
    Watching,
)

__all__ = [
    "Charge",
    "Charging",
    "DefendedVictim",
    "Defense",
    "Perturb",
    "Perturbation",
    "Watch",
    "Watching",
]
