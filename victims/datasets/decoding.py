"""From compressed images to one tensor."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

Source = bytes | str
"""A compressed image's bytes, or the path of its file."""

GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")


def decode_images(
    sources: Sequence[Source],
    describe: Callable[[int], str],
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> Tensor:
    """Images uint8 `[n, c, h, w]`; grey if all of them are, unless `channels` (1 or 3) says otherwise.

    `image_size` (height, width) resizes each; without it all must be of one size. Raises ValueError,
    with `describe(i)` to name the image, for one that is broken or of another size.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"dataset.channels must be 1 (grey), 3 (colour) or null, not {channels}")
    if not sources:
        raise ValueError("there are no images")
    first = _open(sources[0], describe(0))
    size = tuple(image_size) if image_size is not None else (first.height, first.width)

    def decode(index: int) -> np.ndarray:
        image = _open(sources[index], describe(index))
        if (image.height, image.width) != size:
            if image_size is None:
                raise ValueError(
                    f"{describe(index)} has {image.height}x{image.width} pixels and others "
                    f"{size[0]}x{size[1]}; dataset.image_size=[height,width] resizes them all"
                )
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=None)
        return np.asarray(
            image.convert("L" if channels == 1 else "RGB") if _differs(image, channels) else image
        )

    with ThreadPoolExecutor() as pool:
        arrays = list(pool.map(decode, range(len(sources))))
    if channels is None and len({array.ndim for array in arrays}) > 1:
        arrays = [np.repeat(a[:, :, None], 3, axis=2) if a.ndim == 2 else a for a in arrays]
    stacked = torch.from_numpy(np.stack(arrays))
    return stacked[:, None] if stacked.dim() == 3 else stacked.permute(0, 3, 1, 2).contiguous()


def _differs(image: Image.Image, channels: int | None) -> bool:
    wanted = {1: "L", 3: "RGB", None: image.mode}[channels]
    return image.mode != wanted


def _open(source: Source, name: str) -> Image.Image:
    """A decoded image in mode L or RGB."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.load()
            return _plain(image)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, TypeError) as error:
        raise ValueError(f"{name} is not an image that can be decoded: {error}") from error


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "F"):
        # 16-bit greys: Pillow's own conversion would clip them at 255.
        values: Any = np.asarray(image, dtype=np.float64)
        scale = 255 / 65535 if values.max(initial=0) > 255 else 1
        return Image.fromarray((values * scale).round().astype(np.uint8))
    return image.convert("L" if image.mode in GREY_MODES else "RGB")
