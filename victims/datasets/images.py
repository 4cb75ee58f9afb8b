"""Labelled images as one tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from victims.datasets.near_duplicates import SIDE, small_versions

CONFORM_BLOCK = 4096
"""Images resized at a time, which bounds the memory for their float32 copies."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


def content_hash(description: str, *tensors: Tensor) -> str:
    """Return the SHA-256 of a description and of tensors' shapes and bytes, hexadecimal."""
    digest = hashlib.sha256(description.encode())
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def pixel_id(pixels: np.ndarray) -> int:
    """Return 63 bits of a hash of one image's shape and pixels, which does not depend on the file format."""
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(digest.digest(), "big") >> 1


def pixel_ids(images: Tensor) -> Tensor:
    """Return the `pixel_id` of each image of uint8 `[n, c, h, w]`, int64 `[n]`."""
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
    """Images with labels, and with what tells whether two sets share images.

    Sources, rows and ids stay with the images when a set is cut, resized or stored in another format.

    Attributes:
        images: Uint8 `[n, c, h, w]`.
        labels: Int64 `[n]`.
        class_names: Name of each class.
        source: Hash of all ids of the part of the data set that the images come from.
        rows: Positions of the images in that part, int64 `[n]`.
        ids: Hashes of the pixels before any resizing (see `pixel_id`), int64 `[n]`.
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
        """Make the set of a whole part of a data set.

        Args:
            images: Uint8 `[n, c, h, w]`.
            labels: Int64 `[n]`.
            class_names: Name of each class.
            ids: Hashes of the pixels before any resizing, int64 `[n]`; None if the images were not resized.
        """
        ids = pixel_ids(images) if ids is None else ids
        source = content_hash("part of a data set", ids)
        return cls(images, labels, class_names, source, torch.arange(len(images)), ids)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the images, the labels and the number of classes."""
        return content_hash(f"{self.num_classes} classes", self.images, self.labels)

    @cached_property
    def small_versions(self) -> Tensor:
        """What near duplicates are told by, float32 `[n, 64]`; see victims.datasets.near_duplicates."""
        return small_versions(self.conform((1, SIDE, SIDE)).images).cpu()

    def select(self, index: Tensor | slice) -> ImageSet:
        """Return some of the images, by their positions in this set."""
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            rows=self.rows[index],
            ids=self.ids[index],
        )

    def conform(self, image_shape: tuple[int, int, int]) -> ImageSet:
        """Return the images in another shape: resized (bilinear, antialiased), in grey or in colour.

        Args:
            image_shape: Channels (1 or 3), height and width.

        Raises:
            ValueError: The images have, or should get, other numbers of channels.
        """
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
