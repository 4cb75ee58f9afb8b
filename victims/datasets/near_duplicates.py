"""Near duplicates: the same picture stored, scaled or lit in another way, told by a small grey version.

Two images are near duplicates if the versions of 8x8 grey pixels, less their means, have a cosine of 0.999
or more. Copies with light noise, of JPEG quality 75, darkened, or scaled and scaled back have that; of the
test images of MNIST, CIFAR-10 and Tiny ImageNet at most 3 in 5,000 have it with a training image. Candidates
are found by hashing: the signs of random projections (Charikar 2002), in several bands, of which one must be
equal.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

SIDE = 8
"""Height and width of the small version, in pixels."""

LEAST_COSINE = 0.999

BANDS = 6
BITS = 20
"""In a band; at a cosine of 0.999 a bit differs with a probability of 0.014, so all bands with 0.0002."""

PAIRS = 2**22
"""Candidates that are compared at a time."""


def small_versions(grey: Tensor) -> Tensor:
    """Small versions of grey images uint8 `[n, 1, 8, 8]`: unit vectors `[n, 64]`, zero for even images."""
    values = grey.flatten(1).float()
    values = values - values.mean(1, keepdim=True)
    return values / values.norm(dim=1, keepdim=True).clamp_min(1e-6)


def near_duplicates(first: Tensor, second: Tensor) -> Tensor:
    """Which of the small versions `first` `[n, 64]` have a near duplicate in `second`, bool `[n]`."""
    found = torch.zeros(len(first), dtype=torch.bool)
    random = torch.Generator().manual_seed(0)
    for _ in range(BANDS):
        projection = torch.randn(SIDE * SIDE, BITS, generator=random)
        left = torch.nonzero(~found).flatten()
        for rows, others in _candidates(_codes(first[left], projection), _codes(second, projection)):
            cosines = (first[left[rows]] * second[others]).sum(1)
            found[left[rows[cosines >= LEAST_COSINE]]] = True
    return found


def _codes(versions: Tensor, projection: Tensor) -> Tensor:
    """The signs of projections as one number for each image, int64 `[n]`."""
    bits = (versions @ projection > 0).long()
    return (bits << torch.arange(BITS)).sum(1)


def _candidates(first: Tensor, second: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of positions with equal codes `[n]` and `[m]`, in blocks: two int64 `[p]` each."""
    order = second.argsort()
    codes = second[order]
    start = torch.searchsorted(codes, first)
    count = torch.searchsorted(codes, first, right=True) - start
    block = count.cumsum(0) // PAIRS
    for number in block.unique().tolist():
        rows = torch.nonzero((block == number) & (count > 0)).flatten()
        counts = count[rows]
        within = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        yield rows.repeat_interleave(counts), order[start[rows].repeat_interleave(counts) + within]
