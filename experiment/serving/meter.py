"""What the gate's answers reveal, under the measure that is charged."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from experiment.artifacts.teachers import TrainedTeachers
from experiment.artifacts.victim import ServedVictim
from experiment.components import Cell
from gate.meters import GainsMeter, GateMeter
from pow.calibration import Calibration
from pow.calibration.progressive import ProgressiveCalibration
from privacy.accountant import Accounting
from training.fit import predict_logits
from training.recipe import Hardware
from victims.measures.base import Measure, MeasuredVictim, Voters
from victims.meter import Meter
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
        asked, log_probs = _asked(images, probabilities, self.hardware, self.network)
        columns = self.measure.columns(asked, log_probs)
        if self.accounting is None or self.accounting.is_the_papers:
            return columns["cost"].cpu().numpy().reshape(-1, 1)
        return self.accounting.revealed(columns["log_q"]).cpu().numpy()

    def cost(self, revealed: np.ndarray) -> float:
        """See GateMeter."""
        if self.accounting is None:
            return float(revealed[0])
        return float(self.accounting.costs(torch.from_numpy(revealed)[None]))


def charged_meter(cell: Cell, victim: ServedVictim, calibration: Calibration) -> GateMeter:
    """The meter of what the calibration charges, and of no other measure: the gate needs no more."""

    def teachers(settings: TeacherSettings) -> Voters:
        return TrainedTeachers(cell, settings).get()

    measured = MeasuredVictim(victim.network, cell.data.train, cell.hardware, teachers)
    network = victim.network if cell.stack.perturbations else None
    if isinstance(calibration, ProgressiveCalibration):
        return _gains_meter(cell, measured, calibration, network)
    assert cell.toll is not None
    name = cell.toll.cost
    return ServedMeter(cell.measures[name](measured), cell.accounting.get(name), cell.hardware, network)


def _gains_meter(
    cell: Cell, measured: MeasuredVictim, calibration: ProgressiveCalibration, network: nn.Module | None
) -> GainsMeter:
    """The meter of the calibration's gains: of their measures, and of buckets where one needs them."""
    gains = calibration.gains.values()
    names = {name for gain in gains for name in gain.measures}
    buckets = cell.buckets(measured) if any(gain.by_bucket for gain in gains) else None
    meter = Meter({name: cell.measures[name](measured) for name in sorted(names)}, buckets)

    def rows(images: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
        asked, log_probs = _asked(images, probabilities, cell.hardware, network)
        columns = {name: values.cpu().numpy() for name, values in meter.costs(asked, log_probs).items()}
        return pd.DataFrame(columns, index=range(len(images)))

    return GainsMeter(calibration.total, rows)


def _asked(
    images: np.ndarray, probabilities: np.ndarray, hardware: Hardware, network: nn.Module | None
) -> tuple[Tensor, Tensor]:
    """The images, and the victim's own log-probabilities, asked for again where answers are changed."""
    asked = torch.from_numpy(images).to(hardware.device)
    if network is None:
        return asked, torch.from_numpy(probabilities).to(asked.device).clamp_min(SMALLEST).log()
    return asked, predict_logits(network, asked, hardware).log_softmax(1)
