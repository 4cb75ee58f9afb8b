"""Payloads are the bodies of requests and answers: images as npy (without pickles) or JSON."""

from __future__ import annotations

import hashlib
import io
import math
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from gate.problems import Problem, first_fault
from gate.steps import JSON, NPY

FORMATS = (NPY, JSON)
JSON_DIGITS = 24
NPY_BYTES = 4
"""Most bytes of a pixel, in JSON and in npy."""

Pixel = Annotated[float, Field(ge=0, le=1)]
Line = Annotated[list[Pixel], FailFast()]
Plane = Annotated[list[Line], FailFast()]
Image = Annotated[list[Plane], FailFast()]


class Query(BaseModel):
    """A query in JSON. Reading it allocates nothing that is larger than the text."""

    model_config = ConfigDict(strict=True)

    images: Annotated[list[Image], FailFast()]


def body_limit(image_shape: tuple[int, ...], batch: int, content_type: str = JSON) -> int:
    """Return the most bytes that a body with `batch` images needs, in JSON or in npy."""
    each = JSON_DIGITS if _media_type(content_type) == JSON else NPY_BYTES
    return each * int(np.prod(image_shape)) * batch + 4096


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def decode(body: bytes, content_type: str, image_shape: tuple[int, ...], largest_batch: int) -> np.ndarray:
    """Read the images in a request's body, without allocating much more than the body has.

    Args:
        body: npy (float32 in [0, 1] or uint8) or JSON.
        content_type: The request's media type.
        image_shape: Shape that the images must have, `[c, h, w]`.
        largest_batch: Most images in a request.

    Returns:
        Images in [0, 1], float32 `[n, c, h, w]`.

    Raises:
        Problem: The body is anything else.
    """
    match _media_type(content_type):
        case "application/x-npy" | "application/octet-stream":
            images = _from_npy(body)
        case "application/json":
            images = _from_json(body, math.prod(image_shape) * largest_batch)
        case other:
            raise Problem("unknown_format", f"images are taken as {' or '.join(FORMATS)}, not as {other!r}")
    return _checked(images, image_shape, largest_batch)


def query_digest(images: np.ndarray) -> str:
    """Hash float32 images to the hexadecimal digest that a challenge is bound to."""
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def _from_npy(body: bytes) -> np.ndarray:
    try:
        return _viewed(body)
    except Problem:
        raise
    except Exception as error:  # NumPy reads headers with Python's parser, which raises almost anything
        raise Problem("malformed", "the body is no npy file") from error


def _viewed(body: bytes) -> np.ndarray:
    """Return the array in an npy file without a copy. np.load is not used, since it reads pickles."""
    file = io.BytesIO(body)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if dtype.hasobject:
        raise Problem("malformed", "the npy file holds Python objects, which are never loaded")
    if dtype.itemsize * math.prod(shape) != len(body) - file.tell():
        raise Problem("malformed", "the npy file is not as long as its header says")
    return np.ndarray(shape, dtype, body, file.tell(), order="F" if fortran_order else "C")


def _from_json(body: bytes, most: int) -> np.ndarray:
    """Read at most `most` numbers; more are refused unread: each takes many times its text in memory."""
    if body.count(b",") >= most:
        raise Problem("invalid_images", f"the body holds more than the {most:,} numbers that a request may")
    try:
        nested = Query.model_validate_json(body).images
    except ValidationError as error:
        where, fault = first_fault(error)
        if not where.startswith("images."):
            raise Problem("malformed", f'the body is not {{"images": [...]}} in JSON: {fault}') from None
        raise Problem("invalid_images", f"{where}: {fault}") from None
    try:
        return np.array(nested, dtype=np.float32)
    except ValueError as error:
        raise Problem("invalid_images", "the images do not all have one shape") from error


def _checked(images: np.ndarray, image_shape: tuple[int, ...], largest_batch: int) -> np.ndarray:
    expected = f"[n, {', '.join(map(str, image_shape))}]"
    if images.ndim != 1 + len(image_shape) or images.shape[1:] != image_shape:
        raise Problem("invalid_images", f"images have the shape {expected}, not {list(images.shape)}")
    if not 1 <= len(images) <= largest_batch:
        raise Problem("invalid_images", f"a request holds 1 to {largest_batch} images, not {len(images)}")
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    if images.dtype != np.float32:
        raise Problem("invalid_images", f"images are float32 in [0, 1], or uint8, not {images.dtype}")
    if not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
        raise Problem("invalid_images", "pixels lie in [0, 1]; some are outside, or NaN")
    return np.ascontiguousarray(images)


def as_json(values: np.ndarray) -> dict[str, Any]:
    """Convert an answer for JSON: probabilities `[n, classes]`, or labels `[n]`, under their name."""
    name = "labels" if values.ndim == 1 else "probabilities"
    return {name: values.tolist()}
