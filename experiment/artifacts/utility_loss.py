"""What an honest user loses by the defenses: answers that are changed, alarms, answers that are refused.

All of it is of the defenses alone: the kind of answer that the interface gives (`attack.answers`) is cut
afterwards and loses the same without any defense. Time is not here but in the curve's `honest_overhead`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from experiment.artifacts.base import Artifact, read_result
from experiment.artifacts.defending import bind_perturbations
from experiment.artifacts.honest_users import HONEST_IMAGES, honest_sample
from experiment.artifacts.victim import ServedVictim
from experiment.components import Cell
from experiment.keys import Config
from experiment.pricing.bills import Surcharge
from storage.files import write_json
from storage.store import Entry
from training.batches import to_float
from training.seeds import generator
from victims.answers import perturbed
from victims.defenses.base import Perturb, Watching
from victims.types import Answer, QueryBatch

log = logging.getLogger(__name__)

WATCHED_USERS = 200
"""Honest users that a defense which watches is tried on."""

CALIBRATION_BINS = 15


@dataclass(frozen=True, eq=False)
class UtilityLoss(Artifact[dict[str, Any]]):
    """The losses under the cell's defenses: see `answer_losses` and `watch_losses`.

    `false_alarms` is None where no defense watches, and `false_alarms_after` is empty.
    """

    victim: ServedVictim

    kind = "utility_loss"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        return self.cell.identity.utility_loss(min(self.cell.settings.budget, HONEST_IMAGES))

    def make(self, directory: Path) -> None:
        """Have honest users ask, and compare what they get with what the network says."""
        cell, seed, test = self.cell, self.cell.config["seed"], self.cell.data.test
        sample = honest_sample(test, generator(seed, "honest"))
        images = to_float(test.images[sample].to(cell.hardware.device))
        log.info("measuring what honest users lose by the defenses on %d test images", len(images))
        own = self.victim.log_probabilities(images).exp()
        perturbations = bind_perturbations(cell, self.victim)
        answers = defended(perturbations, images, own, cell.hardware.batch_size)
        losses: dict[str, Any] = {**answer_losses(own, answers, test.labels[sample])}
        losses |= {"false_alarms": None, "false_alarms_after": [], "refused": 0.0}
        if cell.stack.watching is not None:
            random = generator(seed, "watched users")
            losses |= watch_losses(cell.stack.watching, images, answers, cell.settings.budget, random)
        write_json(directory / "result.json", losses)

    def load(self, entry: Entry) -> dict[str, Any]:
        """The figures by their names."""
        return read_result(entry)


def honest_surcharge(cell: Cell, victim: ServedVictim) -> Surcharge | None:
    """What false alarms raise an honest user's toll by; None where no alarm does."""
    factor = cell.stack.surcharge
    if factor == 1:
        return None
    after = UtilityLoss(cell, victim).get()["false_alarms_after"]
    return Surcharge(factor, np.array(after, dtype=np.int64), WATCHED_USERS)


def defended(perturbations: list[Perturb], images: Tensor, own: Tensor, batch_size: int) -> Tensor:
    """What the defenses make of the victim's probabilities `own` `[n, classes]`, asked in batches."""
    parts = [
        perturbed(perturbations, *pair, first=number * batch_size)
        for number, pair in enumerate(zip(images.split(batch_size), own.split(batch_size), strict=True))
    ]
    return torch.cat(parts)


def answer_losses(own: Tensor, answers: Tensor, truth: Tensor) -> dict[str, float]:
    """Losses by changed answers: probabilities `[n, classes]` before and after, true classes `[n]`.

    accuracy, accuracy_undefended: share of answers whose largest entry is at the truth. l1: mean L1 distance,
    between 0 and 2. calibration_error, calibration_error_undefended: expected calibration error (Naeini et
    al. 2015; Guo et al. 2017, equation 3) over 15 bins.
    """
    truth = truth.to(own.device)
    l1 = (answers.double() - own.double()).abs().sum(1).mean()
    return {
        "accuracy": _accuracy(answers, truth),
        "accuracy_undefended": _accuracy(own, truth),
        "l1": float(l1),
        "calibration_error": _calibration_error(answers, truth),
        "calibration_error_undefended": _calibration_error(own, truth),
    }


def _accuracy(answers: Tensor, truth: Tensor) -> float:
    return float((answers.argmax(1) == truth).double().mean())


def _calibration_error(answers: Tensor, truth: Tensor) -> float:
    confident = answers.clamp(0, 1)  # beyond 1 by a rounding error, they would be taken for logits
    error: Tensor = multiclass_calibration_error(
        confident, truth, num_classes=answers.shape[1], n_bins=CALIBRATION_BINS, norm="l1"
    )
    return float(error)


def watch_losses(
    watching: Watching, images: Tensor, answers: Tensor, queries: int, random: torch.Generator
) -> dict[str, Any]:
    """Losses by a watch: WATCHED_USERS users ask about `queries` of the images each, in random order.

    None asks about an image twice, so at most about as many as there are: a repetition lies at no distance
    from itself, and would raise alarms that other images would not. false_alarms: share of users with an
    alarm. false_alarms_after: how many queries each of these had asked then, in rising order. refused: share
    of all their queries that were not answered.
    """
    count, after, answered = min(queries, len(images)), [], 0
    for _ in range(WATCHED_USERS):
        asked = torch.randperm(len(images), generator=random)[:count].to(images.device)
        rows = watching.watch().observe(QueryBatch(images[asked]), Answer(answers[asked]))
        if rows["alarm"].any():
            after.append(int(rows["alarm"].to_numpy().argmax()) + 1)
        answered += len(rows)
    return {
        "false_alarms": len(after) / WATCHED_USERS,
        "false_alarms_after": sorted(after),
        "refused": 1 - answered / (WATCHED_USERS * count),
    }
