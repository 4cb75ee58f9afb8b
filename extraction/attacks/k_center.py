"""Greedy k-center selection: the points that lie farthest from all that is known, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.batches import to_float
from training.recipe import Hardware

BLOCK = 4096
"""Points whose distances are kept up to date while centers are chosen, and rows of a distance block."""


def k_center(points: Tensor, centers: Tensor, count: int) -> Tensor:
    """Indices of `count` points `[n, d]`, each the farthest from `centers` `[m, d]` and those before it.

    The greedy 2-approximation of Gonzalez 1985, exactly: distances only shrink as centers are added, so a
    point whose last known distance is below the best one at hand need not be looked at. Only the BLOCK
    farthest are kept up to date; when their best falls below what the others had, all are. Raises
    ValueError for more points than there are, or no center.
    """
    if count > len(points) or not len(centers):
        raise ValueError(f"{count} of {len(points)} points cannot be chosen around {len(centers)} centers")
    bound = squared_distance(points, centers)
    chosen: list[int] = []
    while len(chosen) < count:
        near = bound.topk(min(BLOCK, len(points)))
        others = bound.index_fill(0, near.indices, -torch.inf).max()
        new = _choose_among(points[near.indices], near.values, others, count - len(chosen))
        picked = near.indices[new]
        chosen += picked.tolist()
        bound = torch.minimum(bound, squared_distance(points, points[picked]))
        bound[picked] = -torch.inf
    return torch.tensor(chosen, device=points.device)


def _choose_among(points: Tensor, distance: Tensor, others: Tensor, count: int) -> Tensor:
    """Positions chosen in turn while the farthest of these points lies beyond all others'; at least one."""
    chosen: list[Tensor] = []
    distance = distance.clone()
    norms = (points * points).sum(1)
    while len(chosen) < min(count, len(points)):
        farthest = distance.argmax()
        if chosen and distance[farthest] < others:
            break
        chosen.append(farthest)
        to_new = norms + norms[farthest] - 2 * (points @ points[farthest])
        distance = torch.minimum(distance, to_new)
        distance[farthest] = -torch.inf
    return torch.stack(chosen)


def squared_distance(points: Tensor, centers: Tensor) -> Tensor:
    """Of each point `[n, d]` to the nearest center `[m, d]`, `[n]`, in blocks."""
    norms = (centers * centers).sum(1)
    nearest = [
        torch.cat(
            [
                (norms[j : j + BLOCK] - 2 * block @ centers[j : j + BLOCK].T).amin(1)[:, None]
                for j in range(0, len(centers), BLOCK)
            ],
            dim=1,
        ).amin(1)
        + (block * block).sum(1)
        for block in points.split(BLOCK)
    ]
    return torch.cat(nearest)


@torch.no_grad()
def features(network: nn.Module, images: Tensor, hardware: Hardware) -> Tensor:
    """What goes into the network's last linear layer, float32 `[n, d]`; its logits if it has none."""
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    seen: list[Tensor] = []
    hook = (
        linear[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        if linear
        else None
    )
    network.eval()
    outputs = []
    try:
        for batch in images.split(hardware.batch_size):
            logits = network(to_float(batch.to(hardware.device)))
            outputs.append((seen.pop() if linear else logits).flatten(1).float())
    finally:
        if hook is not None:
            hook.remove()
    return torch.cat(outputs)
