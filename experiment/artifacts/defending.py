"""The defenses of a cell that change answers, bound to its victim."""

from __future__ import annotations

from torch import Tensor, nn

from experiment.artifacts.auxiliary import TrainedAuxiliary
from experiment.artifacts.victim import ServedVictim
from experiment.components import Cell
from extraction.recovery import Imagine
from training.seeds import derive_seed
from victims.answers import limited, perturbed
from victims.defenses.base import AuxiliarySettings, DefendedVictim, Perturb, Watching
from victims.types import Answer


def bind_perturbations(cell: Cell, victim: ServedVictim) -> list[Perturb]:
    """What changes the victim's answers, in the stack's order."""
    defended = _defended(cell, victim, cell.config["seed"])
    return [perturbation.bind(defended) for perturbation in cell.stack.perturbations]


def bind_watching(cell: Cell, victim: ServedVictim) -> Watching | None:
    """What watches the victim's accounts, if a defense does."""
    watching = cell.stack.watching
    return watching and watching.bind(_defended(cell, victim, cell.config["seed"]))


def imagined_defense(cell: Cell, victim: ServedVictim) -> Imagine:
    """What a service defended like this one would answer, for an attacker that is said to know the defense.

    It knows what the defense has trained, but not its random choices.
    """
    defended = _defended(cell, victim, derive_seed(cell.config["seed"], "imagined defence"))
    perturbations = [perturbation.bind(defended) for perturbation in cell.stack.perturbations]
    settings = cell.settings

    def imagine(images: Tensor, probabilities: Tensor, first: int) -> Answer:
        changed = perturbed(perturbations, images, probabilities, first)
        return limited(changed, settings.answers, settings.top_k)

    return imagine


def _defended(cell: Cell, victim: ServedVictim, seed: int) -> DefendedVictim:
    """The victim as defenses see it; `seed` is that of their random choices."""

    def trained(settings: AuxiliarySettings) -> nn.Module:
        return TrainedAuxiliary(cell, victim, settings).get()

    return DefendedVictim(victim.network, cell.data.train, cell.hardware, seed, trained)
