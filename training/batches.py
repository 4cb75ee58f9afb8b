"""Batches cut from tensors that already lie on the device; augmentation works on the whole batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from training.recipe import Augmentation


def to_float(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1]: bytes are divided by 255, floats are taken as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def augment(images: Tensor, how: Augmentation, random: torch.Generator) -> Tensor:
    """Shift and mirror each image of a batch `[n, c, h, w]` by its own draw; what moves in is black."""
    count, _, height, width = images.shape
    if how.flip:
        mirrored = torch.rand(count, generator=random).lt(0.5).to(images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if how.shift:
        padded = torch.nn.functional.pad(images, (how.shift,) * 4)
        corners = torch.randint(0, 2 * how.shift + 1, (2, count), generator=random).to(images.device)
        rows = corners[0][:, None] + torch.arange(height, device=images.device)
        columns = corners[1][:, None] + torch.arange(width, device=images.device)
        index = torch.arange(count, device=images.device)[:, None, None]
        images = padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return images


class TensorBatches:
    """An iterable of `(images, targets)` batches, shuffled anew each epoch by its own seeded stream.

    Images are uint8 or float `[n, c, h, w]`; targets are labels `[n]` or probabilities `[n, classes]`.
    Batches differ in size by one at most, so none is left with a single image to normalise over.
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
