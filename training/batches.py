"""Batches cut from tensors that lie on the device already, and their augmentation, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from training.recipe import Augmentation


def to_float(images: Tensor) -> Tensor:
    """Return images as float32 in [0, 1]; uint8 is divided by 255, floats are taken as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def augment(images: Tensor, augmentation: Augmentation, random: torch.Generator) -> Tensor:
    """Shift and mirror each image of a batch by random draws of its own.

    Args:
        images: Images `[n, c, h, w]`; pixels that a shift moves in are 0.
        augmentation: Which changes, and how large.
        random: CPU generator of the draws.

    Returns:
        The changed images, of the same shape.
    """
    count, _, height, width = images.shape
    if augmentation.flip:
        mirrored = torch.rand(count, generator=random).lt(0.5).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if augmentation.shift:
        padded = torch.nn.functional.pad(images, (augmentation.shift,) * 4)
        corners = torch.randint(0, 2 * augmentation.shift + 1, (2, count), generator=random).to(images.device)
        rows = corners[0][:, None] + torch.arange(height, device=images.device)
        columns = corners[1][:, None] + torch.arange(width, device=images.device)
        index = torch.arange(count, device=images.device)[:, None, None]
        images = padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return images


class TensorBatches:
    """An iterable of batches `(images, targets)`, shuffled anew in each epoch.

    Sizes of batches differ by one at most, so that no batch has a single image, which batch normalisation
    cannot use.

    Args:
        images: Uint8, or float32 in [0, 1], `[n, c, h, w]`; batches are float32.
        targets: Labels int64 `[n]`, or probabilities `[n, classes]`.
        batch_size: Images in a batch, at most.
        augmentation: Random changes of the images.
        seed: Seed of order and augmentation.
        channels_last: Whether batches lie in that memory format.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
        channels_last: bool = False,
    ) -> None:
        self.images = images
        self.targets = targets
        self.augmentation = augmentation
        self.batches = max(1, -(-len(images) // batch_size))
        self.random = torch.Generator().manual_seed(seed)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.images), generator=self.random)
        for index in order.tensor_split(self.batches):
            index = index.to(self.images.device)
            images = augment(to_float(self.images[index]), self.augmentation, self.random)
            yield images.contiguous(memory_format=self.memory_format), self.targets[index]
