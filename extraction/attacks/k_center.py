"""Greedy k-center selection: take, one after another, the point farthest from all centers so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.batches import to_float
from training.recipe import Hardware

BLOCK = 4096
"""Points whose distances are kept up to date while centers are chosen; also rows of a distance block."""


def k_center(points: Tensor, centers: Tensor, count: int) -> Tensor:
    """Choose points so that each is the farthest from the centers and from those chosen before it.

    This is exactly the greedy 2-approximation of Gonzalez 1985. Distances only shrink as centers are added,
    so the distances of most points need no update: only the BLOCK farthest points are kept up to date, until
    the best of them is nearer than another point was at the last update of all.

    Args:
        points: Candidates, float `[n, d]`.
        centers: Points chosen already, float `[m, d]`, m >= 1.
        count: How many points to choose.

    Returns:
        Indices of the chosen points in their order, int64 `[count]`.

    Raises:
        ValueError: There are fewer than `count` points, or no center.
    """
    if count > len(points) or not len(centers):
        raise ValueError(f"{count} of {len(points)} points cannot be chosen around {len(centers)} centers")
    # Exact when a pass of the loop starts; an upper bound while the pass adds centers.
    bound = squared_distance(points, centers)
    chosen: list[int] = []
    while len(chosen) < count:
        far = bound.topk(min(BLOCK, len(points)))
        farthest_other = bound.index_fill(0, far.indices, -torch.inf).max()
        positions = _choose_among(points[far.indices], far.values, farthest_other, count - len(chosen))
        new = far.indices[positions]
        chosen += new.tolist()
        bound = torch.minimum(bound, squared_distance(points, points[new]))
        bound[new] = -torch.inf
    return torch.tensor(chosen, device=points.device)


def _choose_among(points: Tensor, distance: Tensor, farthest_other: Tensor, count: int) -> Tensor:
    """Choose among the farthest points until one of the other points may be farther.

    Args:
        points: The farthest points, float `[n, d]`; the first choice is the farthest of all points.
        distance: Their squared distances to the centers, `[n]`.
        farthest_other: Upper bound of the squared distance of any other point.
        count: How many to choose at most.

    Returns:
        Positions of the chosen points, one or more.
    """
    chosen: list[Tensor] = []
    distance = distance.clone()
    norms = (points * points).sum(1)
    while len(chosen) < min(count, len(points)):
        farthest = distance.argmax()
        if chosen and distance[farthest] < farthest_other:
            break
        chosen.append(farthest)
        to_new = norms + norms[farthest] - 2 * (points @ points[farthest])
        distance = torch.minimum(distance, to_new)
        distance[farthest] = -torch.inf
    return torch.stack(chosen)


def squared_distance(points: Tensor, centers: Tensor) -> Tensor:
    """Return the squared distance `[n]` of each point `[n, d]` to the nearest center `[m, d]`."""
    # In blocks, since the matrix of all distances may not fit into memory.
    return torch.cat([_squared_distance(block, centers) for block in points.split(BLOCK)])


def _squared_distance(points: Tensor, centers: Tensor) -> Tensor:
    """Return the squared distances `[n]` of one block of points."""
    norms = (centers * centers).sum(1)
    blocks = zip(centers.split(BLOCK), norms.split(BLOCK), strict=True)
    nearest = [(norm - 2 * points @ block.T).amin(1) for block, norm in blocks]
    return torch.stack(nearest, 1).amin(1) + (points * points).sum(1)


@torch.no_grad()
def features(network: nn.Module, images: Tensor, hardware: Hardware) -> Tensor:
    """Return the inputs of the network's last linear layer, float32 `[n, d]`; its logits if it has none."""
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
