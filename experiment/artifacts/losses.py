"""Losses of an honest user: answers that are changed, alarms, answers that are refused.

All of it is of the defenses alone: the kind of answer that the interface gives (`attack.answers`) is cut
afterwards and loses the same without any defense. Time is not here but in the curve's `honest_overhead`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pow.shares import share_interval
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
    """Mean of |share that is right - mean confidence| over bins of confidence, weighted by their answers."""
    confidence, chosen = answers.clamp(0, 1).max(1)  # beyond 1 by a rounding error
    edges = torch.linspace(0, 1, CALIBRATION_BINS + 1, device=answers.device)
    bins = torch.bucketize(confidence, edges, right=True) - 1  # a confidence of 1 has a bin of its own
    counts, confident, right = (
        torch.zeros_like(edges).scatter_add_(0, bins, values)
        for values in (torch.ones_like(confidence), confidence, (chosen == truth).to(confidence.dtype))
    )
    gaps = (right / counts).nan_to_num() - (confident / counts).nan_to_num()
    return float((gaps.abs() * (counts / counts.sum())).sum())


def watch_losses(
    watching: Watching, images: Tensor, answers: Tensor, queries: int, random: torch.Generator
) -> dict[str, Any]:
    """Losses by a watch: WATCHED_USERS users ask `queries` times each, or as often as there are images.

    Every other one repeats itself: it draws each query anew from the images that are its own. The others ask
    about no image twice. The images are dealt to as many users as have others' images in none of theirs;
    further users have the same again, in another order.

    Returns:
        false_alarms: share of users with an alarm; false_alarms_once and false_alarms_repeating: of either
        kind. false_alarms_low, false_alarms_high: the 95 % interval of the first (Clopper and Pearson 1934)
        if the users with images of their own, false_alarms_samples of them, were all. false_alarms_after and
        false_alarms_until: after how many queries alarms came and went, in rising order. refused: share of
        all queries that were not answered.
    """
    count = min(queries, len(images))
    samples = min(len(images) // count, WATCHED_USERS // 2)  # one of either kind has each part's images
    parts = torch.randperm(len(images), generator=random).tensor_split(samples)
    columns, refused = [], 0
    for user in range(WATCHED_USERS):
        asked = _asked(parts[user // 2 % samples], count, bool(user % 2), random).to(images.device)
        rows = watching.watch().observe(QueryBatch(images[asked]), Answer(answers[asked]))
        columns.append(rows["alarm"].to_numpy().astype(bool))
        refused += count - len(rows)
    has_alarm = np.array([alarms.any() for alarms in columns])
    low, high = share_interval(samples * has_alarm.mean(), samples)
    return {
        "false_alarms": float(has_alarm.mean()),
        "false_alarms_once": float(has_alarm[::2].mean()),
        "false_alarms_repeating": float(has_alarm[1::2].mean()),
        "false_alarms_low": low,
        "false_alarms_high": high,
        "false_alarms_samples": samples,
        "false_alarms_after": _changes(columns, 1),
        "false_alarms_until": _changes(columns, -1),
        "refused": refused / (WATCHED_USERS * count),
    }


def _asked(own: Tensor, count: int, repeats: bool, random: torch.Generator) -> Tensor:
    """Which images a user asks about, in order, int64 `[count]`, of those that are its own, int64 `[m]`."""
    if repeats:
        return own[torch.randint(len(own), (count,), generator=random)]
    return own[torch.randperm(len(own), generator=random)[:count]]


def _changes(columns: list[np.ndarray], to: int) -> list[int]:
    """After how many queries alarms come (`to` 1) or go (-1), of all users, in rising order."""
    found = [np.flatnonzero(np.diff(alarms.astype(int), prepend=0) == to) + 1 for alarms in columns]
    return sorted(np.concatenate(found).tolist())
