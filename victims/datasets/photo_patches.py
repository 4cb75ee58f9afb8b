"""Squares cut at random from the two photographs that come with scikit-learn: natural images, no download.

They are the out-of-distribution pool of an attacker who has no data of the victim's distribution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from victims.datasets.images import ImageSet

CLASS_NAMES = ("china", "flower")
"""The photographs; a patch's label says from which it was cut."""

SIDES = (8, 16, 32, 64, 128)
"""Sides of the squares in pixels of the photograph."""


def load(
    image_size: tuple[int, int] = (16, 16), count: int = 10_000, channels: int = 1, seed: int = 0
) -> dict[str, ImageSet]:
    """Return one part, `train`, of random patches.

    Args:
        image_size: Height and width to which each patch is resized.
        count: Number of patches; each side of `SIDES` gets an equal share.
        channels: 1 for grey, 3 for colour.
        seed: Seed of the patches' places.
    """
    from sklearn.datasets import load_sample_images

    photographs = torch.stack([torch.tensor(image) for image in load_sample_images().images])
    photographs = photographs.permute(0, 3, 1, 2)
    random = torch.Generator().manual_seed(seed)
    images, labels = [], []
    for side, share in zip(SIDES, torch.arange(count).tensor_split(len(SIDES)), strict=True):
        patches, which = _random_squares(photographs, side, len(share), random)
        cut = ImageSet(patches, which, CLASS_NAMES, "", share, share)
        images.append(cut.conform((channels, *image_size)).images)
        labels.append(which)
    return {"train": ImageSet.decoded(torch.cat(images), torch.cat(labels), CLASS_NAMES)}


def _random_squares(
    photographs: Tensor, side: int, count: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cut `count` squares; return them `[n, c, side, side]`, and the photograph of each, int64 `[n]`."""
    height, width = photographs.shape[-2:]
    which = torch.randint(0, 2, (count,), generator=random)
    top = torch.randint(0, height - side + 1, (count,), generator=random)
    left = torch.randint(0, width - side + 1, (count,), generator=random)
    offsets = torch.arange(side)
    rows, columns = top[:, None] + offsets, left[:, None] + offsets
    squares = photographs[which[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return squares.permute(0, 3, 1, 2), which
