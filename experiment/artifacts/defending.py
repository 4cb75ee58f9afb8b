"""The defenses of a cell that change answers, bound to its victim."""

from __future__ import annotations

from torch import Tensor, nn

from experiment.artifacts.misinformer import TrainedMisinformer
from experiment.artifacts.victim import ServedVictim
from experiment.components import Cell
from extraction.recovery import Imagine
from training.seeds import derive_seed
from victims.answers import limited, perturbed
from victims.defenses.base import DefendedVictim, MisinformerSettings, Perturb
from victims.types import Answer


def bind_perturbations(cell: Cell, victim: ServedVictim) -> list[Perturb]:
    """What changes the victim's answers, in the stack's order."""
    return _bound(cell, victim, cell.config["seed"])


def imagined_defense(cell: Cell, victim: ServedVictim) -> Imagine:
    """What a service defended like this one would answer, for an attacker that is said to know the defense.

    It knows what the defense has trained, but not its random choices.
    """
    perturbations = _bound(cell, victim, derive_seed(cell.config["seed"], "imagined defence"))
    settings = cell.settings

    def imagine(images: Tensor, probabilities: Tensor, first: int) -> Answer:
        changed = perturbed(perturbations, images, probabilities, first)
        return limited(changed, settings.answers, settings.top_k)

    return imagine


def _bound(cell: Cell, victim: ServedVictim, seed: int) -> list[Perturb]:
    """The perturbations of the stack; `seed` is that of their random choices."""

    def misinformer(settings: MisinformerSettings) -> nn.Module:
        return TrainedMisinformer(cell, settings).get()

    defended = DefendedVictim(victim.network, cell.data.train, cell.hardware, seed, misinformer)
    return [perturbation.bind(defended) for perturbation in cell.stack.perturbations]
