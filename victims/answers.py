"""Answers: a network's probabilities are changed by defenses, then reduced to what the interface gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from victims.defenses.base import Perturb
from victims.types import Answer, AnswerKind


def limited(probabilities: Tensor, answers: AnswerKind, top_k: int) -> Answer:
    """Reduce probabilities to what the interface gives.

    Args:
        probabilities: Float32 `[n, classes]`.
        answers: `soft` keeps all probabilities, `topk` the largest ones, `hard` the labels only.
        top_k: How many probabilities `topk` keeps; the others become 0.
    """
    if answers == "hard":
        return Answer(probabilities.argmax(1))
    if answers == "topk":
        return Answer(largest_only(probabilities, top_k))
    return Answer(probabilities)


def largest_only(probabilities: Tensor, count: int) -> Tensor:
    """Keep the `count` largest of each row of `[n, classes]` (the first of equal ones); others become 0."""
    descending = probabilities.sort(dim=1, descending=True, stable=True)
    kept, places = descending.values[:, :count], descending.indices[:, :count]
    return torch.zeros_like(probabilities).scatter_(1, places, kept)


def perturbed(perturbations: Sequence[Perturb], images: Tensor, probabilities: Tensor, first: int) -> Tensor:
    """Apply perturbations to probabilities, one after another.

    Args:
        perturbations: What the defenses do to answers.
        images: The queries, float32 in [0, 1] `[n, c, h, w]`.
        probabilities: The network's own answers, float32 `[n, classes]`.
        first: How many queries were answered before these.

    Returns:
        The changed probabilities, float32 `[n, classes]`.
    """
    for perturb in perturbations:
        probabilities = perturb(images, probabilities, first)
    return probabilities
