"""Averages over repeated answers: noise that is drawn anew for each of them is averaged out."""

from __future__ import annotations

import torch
from torch import Tensor

from victims.types import Answer


class Denoise:
    """The point of the simplex nearest to the mean of an image's answers."""

    def __call__(self, answer: Answer, repeats: int) -> Answer:
        """See Recovery."""
        return Answer(onto_simplex(mean_answers(answer, repeats)))


def mean_answers(answer: Answer, repeats: int) -> Tensor:
    """Mean of each `repeats` probabilities in a row, `[n * repeats, classes]` to `[n, classes]`."""
    return answer.values.unflatten(0, (-1, repeats)).mean(1)


def onto_simplex(values: Tensor) -> Tensor:
    """Euclidean projection of each row `[n, classes]` onto the simplex (Duchi et al. 2008, Figure 1)."""
    descending = values.sort(1, descending=True).values
    counts = torch.arange(1, values.shape[1] + 1, device=values.device)
    levels = (descending.cumsum(1) - 1) / counts
    last = (descending > levels).sum(1, keepdim=True) - 1
    return (values - levels.gather(1, last)).clamp_min(0)
