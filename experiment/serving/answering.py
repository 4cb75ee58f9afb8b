"""What the gate answers: the victim's probabilities, changed by its defenses."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable

import numpy as np
import torch

from experiment.artifacts.defending import bind_perturbations
from experiment.artifacts.victim import ServedVictim
from experiment.components import Cell
from victims.answers import perturbed


def answering(cell: Cell, victim: ServedVictim) -> Callable[[np.ndarray], np.ndarray]:
    """From images float32 in [0, 1] `[n, c, h, w]` to changed probabilities float32 `[n, classes]`."""
    perturbations = bind_perturbations(cell, victim)
    # From where noise is drawn that no image determines: so no worker repeats what another one drew.
    numbers = itertools.count(secrets.randbits(62))

    def predict(images: np.ndarray) -> np.ndarray:
        asked = torch.from_numpy(images).to(cell.hardware.device)
        probabilities = victim.log_probabilities(asked).exp()  # as the oracle in process computes it
        return perturbed(perturbations, asked, probabilities, next(numbers)).cpu().numpy()

    return predict
