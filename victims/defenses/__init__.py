"""Defenses: one file each, mounted under `defense.<name>` in the config, stacked in the given order."""

from victims.defenses.base import DefendedVictim, Perturb, Perturbation, Watch, Watching

__all__ = ["DefendedVictim", "Perturb", "Perturbation", "Watch", "Watching"]
