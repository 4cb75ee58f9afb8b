"""From what a network says to what a client gets: changed by defenses, then cut as the interface says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from victims.defenses.base import Perturb
from victims.types import Answer, AnswerKind


def limited(probabilities: Tensor, answers: AnswerKind, top_k: int) -> Answer:
    """What the interface gives of probabilities `[n, classes]`: all, the `top_k` largest, or labels."""
    if answers == "hard":
        return Answer(probabilities.argmax(1))
    if answers == "topk":
        return Answer(largest_only(probabilities, top_k))
    return Answer(probabilities)


def largest_only(probabilities: Tensor, count: int) -> Tensor:
    """The `count` largest of each row of `[n, classes]`, the first of equal ones, the others 0."""
    descending = probabilities.sort(dim=1, descending=True, stable=True)
    kept, places = descending.values[:, :count], descending.indices[:, :count]
    return torch.zeros_like(probabilities).scatter_(1, places, kept)


def perturbed(perturbations: Sequence[Perturb], images: Tensor, probabilities: Tensor, first: int) -> Tensor:
    """The probabilities `[n, classes]` as the perturbations leave them, one after another."""
    for perturb in perturbations:
        probabilities = perturb(images, probabilities, first)
    return probabilities
