"""The one decoder of pictures: who trains on a file and who asks about it see the same pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

Source = bytes | str | Path
"""A compressed picture's bytes, or the path of its file."""

GREY_MODES = ("1", "L", "LA", "La")
DEEP_GREY_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of 16-bit greys; some versions open them with 32 bits (`I`)."""

TURNED = ("JPEG", "MPO", "TIFF")
"""Formats whose EXIF data browsers heed (JPEG), or do not read at all."""

ANIMATED_PNG = "image/apng"

TRANSPARENT_MODES = ("RGBA", "RGBa", "LA", "La", "PA")


def open_picture(source: Source, name: str) -> Image.Image:
    """Decode a picture into mode L (grey) or RGB, as a viewer shows it.

    It is turned as its EXIF data says, if it is one of those kinds that browsers turn; greys of 16 bits are
    scaled to 8, and what is transparent is white.

    Args:
        source: Its content, or the path of its file.
        name: What it is called, for the error message.

    Raises:
        ValueError: It is missing, damaged, too large to be read safely, an animated PNG, or of floating-point
            numbers.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            if picture.get_format_mimetype() == ANIMATED_PNG:
                raise ValueError("it is an animated PNG, of which programs show other pictures; save one")
            picture.load()
            return _eight_bits(_turned(picture))
    except FileNotFoundError as error:
        raise ValueError(f"{name}: there is no such file") from error
    except Exception as error:  # Pillow's readers of damaged files raise almost anything
        said = str(error) or type(error).__name__
        raise ValueError(f"{name} is not an image that can be decoded: {said}") from error


def pixels_of(picture: Image.Image, size: tuple[int, int], channels: int | None) -> np.ndarray:
    """Return a picture's pixels, uint8 `[h, w]` in grey or `[h, w, 3]` in colour.

    Args:
        picture: In mode L or RGB.
        size: Height and width to resize to (bilinear).
        channels: 1 for grey, 3 for colour, None for what it is.
    """
    mode = {1: "L", 3: "RGB", None: picture.mode}[channels]
    picture = picture if picture.mode == mode else picture.convert(mode)
    if (picture.height, picture.width) != size:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=None)
    return np.asarray(picture)


def _turned(picture: Image.Image) -> Image.Image:
    """The picture, turned as its EXIF data says where that can be read and browsers heed it."""
    if picture.format not in TURNED:
        return picture
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF data says nothing about the pixels
        return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Convert a picture of any mode to 8 bits a pixel, mode L or RGB."""
    if picture.mode in DEEP_GREY_MODES:
        # Pillow's own conversion would clip them at 255.
        values: Any = np.asarray(picture, dtype=np.float64)
        if "transparency" in picture.info:
            values = np.where(values == picture.info["transparency"], 65535.0, values)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("its greys are beyond 16 bits; save it with 8 or 16 bits a pixel")
        return Image.fromarray((values * (255 / 65535)).round().astype(np.uint8))
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits a pixel")
    mode = "L" if picture.mode in GREY_MODES else "RGB"
    if picture.mode in TRANSPARENT_MODES or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert(mode)
