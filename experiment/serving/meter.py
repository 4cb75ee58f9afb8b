"""What the gate's answers reveal, under the measure that is charged."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from experiment.artifacts.teachers import TrainedTeachers
from experiment.artifacts.victim import ServedVictim
from experiment.components import Cell
from privacy.accountant import Accounting
from training.fit import predict_logits
from training.recipe import Hardware
from victims.measures.base import Measure, MeasuredVictim, Voters
from victims.teachers import TeacherSettings

SMALLEST = torch.finfo(torch.float32).tiny


class ServedMeter:
    """What a victim's answers reveal under one measure (see gate.meters.GateMeter).

    Where answers are changed, `network` is asked for its own again: those are what is metered.
    """

    def __init__(
        self,
        measure: Measure,
        accounting: Accounting | None,
        hardware: Hardware,
        network: nn.Module | None = None,
    ) -> None:
        self.measure, self.accounting, self.hardware, self.network = measure, accounting, hardware, network

    def reveal(self, images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """See GateMeter."""
        asked = torch.from_numpy(images).to(self.hardware.device)
        if self.network is None:
            log_probs = torch.from_numpy(probabilities).to(asked.device).clamp_min(SMALLEST).log()
        else:
            log_probs = predict_logits(self.network, asked, self.hardware).log_softmax(1)
        columns = self.measure.columns(asked, log_probs)
        if self.accounting is None or self.accounting.is_the_papers:
            return columns["cost"].cpu().numpy().reshape(-1, 1)
        return self.accounting.revealed(columns["log_q"]).cpu().numpy()

    def cost(self, revealed: np.ndarray) -> float:
        """See GateMeter."""
        if self.accounting is None:
            return float(revealed[0])
        return float(self.accounting.costs(torch.from_numpy(revealed)[None]))


def charged_meter(cell: Cell, victim: ServedVictim, name: str) -> ServedMeter:
    """The meter of the measure `name`, and of no other: the gate needs no more."""

    def teachers(settings: TeacherSettings) -> Voters:
        return TrainedTeachers(cell, settings).get()

    measured = MeasuredVictim(victim.network, cell.data.train, cell.hardware, teachers)
    network = victim.network if cell.stack.perturbations else None
    return ServedMeter(cell.measures[name](measured), cell.accounting.get(name), cell.hardware, network)
