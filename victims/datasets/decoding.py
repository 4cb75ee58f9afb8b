"""Decoding of compressed images into one tensor."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from victims.datasets.images import check_image_size, pixel_id

Source = bytes | str
"""A compressed image's bytes, or the path of its file."""

GREY_MODES = ("1", "L", "LA")
DEEP_GREY_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of 16-bit greys; some versions open them with 32 bits (`I`)."""


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
    first = _open(sources[0], describe(0))
    height, width = image_size if image_size is not None else (first.height, first.width)

    def decode(index: int) -> tuple[np.ndarray, int]:
        image = _open(sources[index], describe(index))
        if image_size is None and (image.height, image.width) != (height, width):
            raise ValueError(
                f"{describe(index)} has {image.height}x{image.width} pixels and others "
                f"{height}x{width}; dataset.image_size=[height,width] resizes them all"
            )
        return _pixels(image, (height, width), channels), pixel_id(np.asarray(image))

    with ThreadPoolExecutor() as pool:
        arrays, ids = map(list, zip(*pool.map(decode, range(len(sources))), strict=True))
    return _stacked(arrays), torch.tensor(ids, dtype=torch.int64)


def _pixels(image: Image.Image, size: tuple[int, int], channels: int | None) -> np.ndarray:
    """Return an image resized to `size` (height, width), in grey `[h, w]` or in colour `[h, w, 3]`."""
    if (image.height, image.width) != size:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=None)
    mode = {1: "L", 3: "RGB", None: image.mode}[channels]
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _stacked(arrays: list[np.ndarray]) -> Tensor:
    """Stack grey and colour images to `[n, c, h, w]`; if there are both kinds, all are in colour."""
    if len({array.ndim for array in arrays}) > 1:
        arrays = [np.repeat(a[:, :, None], 3, axis=2) if a.ndim == 2 else a for a in arrays]
    stacked = torch.from_numpy(np.stack(arrays))
    return stacked[:, None] if stacked.dim() == 3 else stacked.permute(0, 3, 1, 2).contiguous()


def _open(source: Source, name: str) -> Image.Image:
    """Decode an image into mode L or RGB; raises ValueError naming it if that fails."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.load()
            return _eight_bits(image)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is not an image that can be decoded: {error}") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8 bits a pixel, mode L or RGB."""
    if image.mode in DEEP_GREY_MODES:
        # Pillow's own conversion would clip them at 255.
        values: Any = np.asarray(image, dtype=np.float64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("its greys are beyond 16 bits; save it with 8 or 16 bits a pixel")
        return Image.fromarray((values * (255 / 65535)).round().astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits a pixel")
    return image.convert("L" if image.mode in GREY_MODES else "RGB")
