"""Private kNN (Zhu et al. 2020) as the proof-of-work paper uses it: the nearest training points vote.

Nearest are those with the smallest Euclidean distance between the victim's log-softmax outputs. Each votes
with its true label.
"""

from __future__ import annotations

import torch
from torch import Tensor

from privacy.gnmax import Array

BLOCK_ENTRIES = {"cpu": 2**20, "cuda": 2**26}
"""Distances held in memory at a time: on a CPU what its caches hold, on a GPU what keeps it busy."""

GROUP = 8
"""Points in a group, of which `_nearest` looks at the nearest one first."""


def neighbour_votes(
    train_log_probs: Array, train_labels: Array, query_log_probs: Array, k: int, num_classes: int
) -> Tensor:
    """Count the votes of each query's `k` nearest training points.

    Args:
        train_log_probs: The victim's log-softmax outputs on the training points, `[m, d]`.
        train_labels: Their true labels, int `[m]`.
        query_log_probs: The victim's log-softmax outputs on the queries, `[n, d]`.
        k: Training points that vote on each query, from 1 to m.
        num_classes: Labels lie in [0, num_classes).

    Returns:
        Votes, float64 `[n, num_classes]`, on the device of `query_log_probs`.

    Raises:
        ValueError: `k` or a label is out of its range.
    """
    query = torch.as_tensor(query_log_probs).double()
    train = torch.as_tensor(train_log_probs).double().to(query.device)
    labels = torch.as_tensor(train_labels).long().to(query.device)
    if not 1 <= k <= len(train):
        raise ValueError(f"k must be between 1 and the {len(train)} training points, not {k}")
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
        raise ValueError(f"training labels must lie in [0, {num_classes})")
    return _count_votes(train, labels, query, k, num_classes)


def _count_votes(train: Tensor, labels: Tensor, query: Tensor, k: int, num_classes: int) -> Tensor:
    """Count votes block by block; see `neighbour_votes`.

    Distances come from float64 products: float32 ones would lose digits on log-probabilities of -100, and
    differences are several times slower.
    """
    norms = train.square().sum(1)
    votes = torch.zeros(len(query), num_classes, dtype=torch.float64, device=query.device)
    missing = -len(train) % GROUP  # filled up with points at an infinite distance
    train = torch.nn.functional.pad(train, (0, 0, 0, missing))
    norms = torch.nn.functional.pad(norms, (0, missing), value=torch.inf)
    rows = max(1, BLOCK_ENTRIES[query.device.type] // len(train))
    for start in range(0, len(query), rows):
        block = query[start : start + rows]
        # Squared distances less the query's own square, which orders no neighbour before another.
        distances = torch.addmm(norms[None, :], block, train.T, alpha=-2)
        chosen = labels[_nearest(distances, k)]
        ones = torch.ones_like(chosen, dtype=torch.float64)
        votes[start : start + rows].scatter_add_(1, chosen, ones)
    return votes


def _nearest(distances: Tensor, k: int) -> Tensor:
    """Return the columns of the `k` smallest entries of each row, int64 `[n, k]`.

    The number of columns is a multiple of GROUP. The k smallest entries lie in the k groups with the smallest
    minima. Only the members of those need to be compared, which is faster than to select among all columns.
    """
    groups = distances.shape[1] // GROUP
    if groups <= k:
        return _smallest(distances, k)
    minima = distances.unflatten(1, (GROUP, groups)).amin(1)
    members = _smallest(minima, k)[:, None, :] + torch.arange(
        0, distances.shape[1], groups, device=distances.device
    ).reshape(1, GROUP, 1)
    columns = members.flatten(1)
    return columns.gather(1, _smallest(distances.gather(1, columns), k))


def _smallest(values: Tensor, k: int) -> Tensor:
    return values.topk(k, dim=1, largest=False, sorted=False).indices
