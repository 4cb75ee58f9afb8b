"""Losses of an honest user: answers that are changed, alarms, answers that are refused.

All of it is of the defenses alone: the kind of answer that the interface gives (`attack.answers`) is cut
afterwards and loses the same without any defense. Time is not here but in the curve's `honest_overhead`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from victims.answers import perturbed
from victims.defenses.base import Perturb, Watching
from victims.types import Answer, QueryBatch

WATCHED_USERS = 200
"""Honest users that a defense which watches is tried on."""

CALIBRATION_BINS = 15


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
