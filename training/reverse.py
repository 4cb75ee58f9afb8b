"""The loss that trains a network to be wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def reverse_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of -log(1 - p_label), for logits `[n, classes]` and labels int64 `[n]`.

    This is the loss of the misinformation model of Kariyappa and Qureshi 2020. It is least where the label
    has no probability.
    """
    # A log-sum over the other classes, since 1 - p would round to 0 where the label is almost certain.
    own = nn.functional.one_hot(labels, logits.shape[1]).bool()
    others = logits.masked_fill(own, -torch.inf).logsumexp(1)
    return (logits.logsumexp(1) - others).mean()
