"""A labelled set of images as one tensor."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

CONFORM_BLOCK = 4096
"""Images that are resized at a time."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601)."""


def content_hash(images: Tensor, labels: Tensor) -> str:
    """SHA-256 over the shape, the bytes and the labels of a set of images, hexadecimal."""
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    digest.update(images.cpu().contiguous().numpy().data)
    digest.update(labels.cpu().contiguous().numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images uint8 `[n, c, h, w]` with labels int64 `[n]`.

    `source` is the content hash of the part of a data set that the rows come from, `rows` int64 `[n]`
    their numbers in it: so two sets know whether they share images, however they were cut.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    source: str
    rows: Tensor

    @classmethod
    def decoded(cls, images: Tensor, labels: Tensor, class_names: tuple[str, ...]) -> ImageSet:
        """A whole part of a data set, as it was decoded."""
        return cls(images, labels, class_names, content_hash(images, labels), torch.arange(len(images)))

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
        """Content hash of these very images and labels."""
        return content_hash(self.images, self.labels)

    def select(self, index: Tensor | slice) -> ImageSet:
        """Some of the images, by their positions in this set."""
        return replace(self, images=self.images[index], labels=self.labels[index], rows=self.rows[index])

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
