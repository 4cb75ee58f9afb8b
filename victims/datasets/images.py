"""A labelled set of images as one tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

CONFORM_BLOCK = 4096
"""Images that are resized at a time."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


def content_hash(description: str, *tensors: Tensor) -> str:
    """SHA-256 over a description and the shapes and bytes of tensors, hexadecimal."""
    digest = hashlib.sha256(description.encode())
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def pixel_id(pixels: np.ndarray) -> int:
    """63 bits of a hash of one image's shape and bytes: equal for equal pixels, however they were stored."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(digest.digest(), "big") >> 1


def pixel_ids(images: Tensor) -> Tensor:
    """`pixel_id` of each image of a uint8 tensor `[n, c, h, w]`, int64 `[n]`."""
    arrays = images.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    if arrays.shape[-1] == 1:
        arrays = arrays[..., 0]
    return torch.tensor([pixel_id(array) for array in arrays], dtype=torch.int64)


def check_image_size(image_size: Sequence[int] | None) -> None:
    """Raise ValueError naming dataset.image_size unless it is null or [height, width]."""
    if image_size is None:
        return
    if len(image_size) != 2 or not all(isinstance(side, int) and side >= 1 for side in image_size):
        raise ValueError(f"dataset.image_size must be [height, width] in pixels, or null, not {image_size}")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images uint8 `[n, c, h, w]` with labels int64 `[n]`.

    `ids` int64 `[n]` are hashes of the pixels as they were before any resizing. `source` is a hash over all
    ids of the part of a data set that the images come from, `rows` int64 `[n]` their numbers in it. So two
    sets know whether they share images, however they were cut, resized or stored.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    source: str
    rows: Tensor
    ids: Tensor

    @classmethod
    def decoded(
        cls, images: Tensor, labels: Tensor, class_names: tuple[str, ...], ids: Tensor | None = None
    ) -> ImageSet:
        """A whole part of a data set; `ids` where the images are no longer as they were stored."""
        ids = pixel_ids(images) if ids is None else ids
        source = content_hash("part of a data set", ids)
        return cls(images, labels, class_names, source, torch.arange(len(images)), ids)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """How many classes the labels may name."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of these very images and labels, and of how many classes there are."""
        return content_hash(f"{self.num_classes} classes", self.images, self.labels)

    def select(self, index: Tensor | slice) -> ImageSet:
        """Some of the images, by their positions in this set."""
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            rows=self.rows[index],
            ids=self.ids[index],
        )

    def conform(self, image_shape: tuple[int, int, int]) -> ImageSet:
        """The images in another network's shape: resized (bilinear, antialiased), grey or colour."""
        if self.image_shape == tuple(image_shape):
            return self
        channels, height, width = image_shape
        if {channels, self.image_shape[0]} - {1, 3}:
            raise ValueError(f"images of shape {self.image_shape} cannot be made into {tuple(image_shape)}")
        blocks = [_conform(block, channels, height, width) for block in self.images.split(CONFORM_BLOCK)]
        return replace(self, images=torch.cat(blocks) if blocks else self.images)


def _conform(images: Tensor, channels: int, height: int, width: int) -> Tensor:
    values = images.float()
    if channels == 1 and values.shape[1] == 3:
        values = (values * values.new_tensor(LUMA).reshape(3, 1, 1)).sum(1, keepdim=True)
    if values.shape[-2:] != (height, width):
        values = torch.nn.functional.interpolate(
            values, (height, width), mode="bilinear", antialias=True, align_corners=False
        )
    return values.round().clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1).contiguous()
