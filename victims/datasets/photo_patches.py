"""Squares cut at random from the two photographs that come with scikit-learn: natural images, no download.

They are the out-of-distribution pool of an attacker who has no data of the victim's distribution.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from storage.typed import Count, Natural
from victims.datasets import bundled
from victims.datasets.cache import cached
from victims.datasets.images import ImageSet, content_hash

CLASS_NAMES = ("china", "flower")
"""The photographs; a patch's label says from which it was cut."""

SIDES = (8, 16, 32, 64, 128)
"""Sides of the squares in pixels of the photograph."""

BLOCK = 2**22
"""Pixels of photographs that are cut and resized at a time, which bounds the memory."""


def load(
    image_size: tuple[Count, Count] = (16, 16),
    count: Count = 10_000,
    channels: Literal[1, 3] = 1,
    seed: Natural = 0,
    cache: str | None = None,
) -> dict[str, ImageSet]:
    """Return one part, `train`, of random patches.

    Args:
        image_size: Height and width to which each patch is resized.
        count: Number of patches; each side of `SIDES` gets an equal share.
        channels: 1 for grey, 3 for colour.
        seed: Seed of the patches' places.
        cache: Folder of the cache of decoded images; None for no cache.
    """
    pictures = torch.tensor(bundled.photographs()).permute(0, 3, 1, 2)
    shape = (channels, *image_size)
    identity = {
        "patches": content_hash("photographs", pictures),
        "shape": shape,
        "count": count,
        "seed": seed,
    }
    return {"train": cached(cache, identity, lambda: _patches(pictures, shape, count, seed))}


def _patches(pictures: Tensor, image_shape: tuple[int, int, int], count: int, seed: int) -> ImageSet:
    random = torch.Generator().manual_seed(seed)
    images, labels = [], []
    for side, share in zip(SIDES, torch.arange(count).tensor_split(len(SIDES)), strict=True):
        places = _random_places(pictures, side, len(share), random)
        images += [
            _resized(_squares(pictures, side, *block), image_shape)
            for block in zip(*(values.split(BLOCK // side**2) for values in places), strict=True)
        ]
        labels.append(places[0])
    return ImageSet.decoded(torch.cat(images), torch.cat(labels), CLASS_NAMES)


def _random_places(
    pictures: Tensor, side: int, count: int, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw `count` squares: the photograph of each, its top and its left side, int64 `[count]`."""
    height, width = pictures.shape[-2:]
    which = torch.randint(0, 2, (count,), generator=random)
    top = torch.randint(0, height - side + 1, (count,), generator=random)
    left = torch.randint(0, width - side + 1, (count,), generator=random)
    return which, top, left


def _squares(pictures: Tensor, side: int, which: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Cut squares, uint8 `[n, c, side, side]`."""
    windows = pictures.unfold(2, side, 1).unfold(3, side, 1)
    return windows[which, :, top, left]


def _resized(squares: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Squares in the shape of the data set's images."""
    none = torch.zeros(len(squares), dtype=torch.int64)
    return ImageSet(squares, none, CLASS_NAMES, "", none, none).conform(image_shape).images
