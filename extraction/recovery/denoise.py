"""Averages of repeated answers: noise that is drawn anew for each answer averages out."""

from __future__ import annotations

import torch
from torch import Tensor

from victims.types import Answer


class Denoise:
    """Takes the mean of an image's answers, projected onto the simplex."""

    def __call__(self, answer: Answer, repeats: int) -> Answer:
        """Return the projected mean of each image's answers."""
        return Answer(onto_simplex(mean_answers(answer, repeats)))


def mean_answers(answer: Answer, repeats: int) -> Tensor:
    """Return the means `[n, classes]` of each `repeats` rows of `[n * repeats, classes]`."""
    return answer.values.unflatten(0, (-1, repeats)).mean(1)


def onto_simplex(values: Tensor) -> Tensor:
    """Project each row of `[n, classes]` onto the simplex, by L2 distance (Duchi et al. 2008, Figure 1)."""
    descending = values.sort(1, descending=True).values
    counts = torch.arange(1, values.shape[1] + 1, device=values.device)
    levels = (descending.cumsum(1) - 1) / counts
    last = (descending > levels).sum(1, keepdim=True) - 1
    return (values - levels.gather(1, last)).clamp_min(0)
