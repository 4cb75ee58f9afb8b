"""Training to be wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def reverse_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log(1 - p_label), for logits `[n, classes]` and labels int64 `[n]`.

    The loss of the misinformation model of Kariyappa and Qureshi 2020: least where the label has no
    probability. Computed as the log of a sum over the other classes, without 1 - p.
    """
    own = nn.functional.one_hot(labels, logits.shape[1]).bool()
    others = logits.masked_fill(own, -torch.inf).logsumexp(1)
    return (logits.logsumexp(1) - others).mean()
