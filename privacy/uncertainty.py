"""Uncertainty of an answer: its entropy, and the gap between its two likeliest classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from privacy.gnmax import Array


def _probabilities(probs: Array) -> Tensor:
    values = torch.as_tensor(probs).to(torch.float64)
    if values.dim() != 2 or values.shape[1] < 2:
        raise ValueError(f"probs must be [n, classes] with at least 2 classes, not {tuple(values.shape)}")
    return values


def entropy(probs: Array) -> Tensor:
    """Return entropy over log(classes), float64 `[n]` in [0, 1], for `[n, classes]`; 0 log 0 is 0."""
    values = _probabilities(probs)
    return torch.special.entr(values).sum(1).div(math.log(values.shape[1])).clamp(0, 1)


def gap(probs: Array) -> Tensor:
    """Return 1 - (p1 - p2) / (p1 + p2), float64 `[n]` in [0, 1], for probabilities `[n, classes]`.

    p1 >= p2 are a row's two largest. A softmax over the two largest logits alone gives the same value.
    """
    first, second = _probabilities(probs).topk(2, dim=1).values.unbind(1)
    return 2 * second / (first + second)
