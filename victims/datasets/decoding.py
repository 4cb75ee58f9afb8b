"""Decoding of compressed images into one tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from storage.pictures import Source, open_picture, pixels_of
from victims.datasets.images import check_image_size, pixel_id


def decode_images(
    sources: Sequence[Source],
    describe: Callable[[int], str],
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode compressed images, in threads.

    Args:
        sources: Content or path of each file.
        describe: Returns the name of the i-th image, for error messages.
        image_size: Height and width to resize to; None if all images have one size.
        channels: 1 for grey, 3 for colour; None for grey if all images are grey, else colour.

    Returns:
        Images uint8 `[n, c, h, w]`, and the ids of their pixels before any change, int64 `[n]`
        (see `ImageSet`).

    Raises:
        ValueError: An image is broken or of another size, or an option is out of range.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"dataset.channels must be 1 (grey), 3 (colour) or null, not {channels}")
    check_image_size(image_size)
    if not sources:
        raise ValueError("there are no images")
    first = open_picture(sources[0], describe(0))
    height, width = image_size if image_size is not None else (first.height, first.width)

    def decode(index: int) -> tuple[np.ndarray, int]:
        image = open_picture(sources[index], describe(index))
        if image_size is None and (image.height, image.width) != (height, width):
            raise ValueError(
                f"{describe(index)} has {image.height}x{image.width} pixels and others "
                f"{height}x{width}; dataset.image_size=[height,width] resizes them all"
            )
        return pixels_of(image, (height, width), channels), pixel_id(np.asarray(image))

    with ThreadPoolExecutor() as pool:
        arrays, ids = map(list, zip(*pool.map(decode, range(len(sources))), strict=True))
    return _stacked(arrays), torch.tensor(ids, dtype=torch.int64)


def _stacked(arrays: list[np.ndarray]) -> Tensor:
    """Stack grey and colour images to `[n, c, h, w]`; if there are both kinds, all are in colour."""
    if len({array.ndim for array in arrays}) > 1:
        arrays = [np.repeat(a[:, :, None], 3, axis=2) if a.ndim == 2 else a for a in arrays]
    stacked = torch.from_numpy(np.stack(arrays))
    return stacked[:, None] if stacked.dim() == 3 else stacked.permute(0, 3, 1, 2).contiguous()
