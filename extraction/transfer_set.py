"""The transfer set: the images that an attacker asked about, and the answers it got."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from victims.types import Answer


@dataclass(frozen=True, eq=False)
class TransferSet:
    """Images and their answers, in the order asked.

    Attributes:
        images: Float32 in [0, 1], `[n, c, h, w]`.
        answers: Probabilities float32 `[n, classes]`, or labels int64 `[n]` (see Answer).
    """

    images: Tensor
    answers: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def empty(cls, image_shape: tuple[int, ...], device: torch.device) -> TransferSet:
        """Return a transfer set without any image."""
        return cls(torch.zeros(0, *image_shape, device=device), torch.zeros(0, device=device))

    def add(self, images: Tensor, answer: Answer) -> TransferSet:
        """Return this set with more images `[m, c, h, w]` and their answers appended."""
        values = answer.values.to(images.device)
        answers = torch.cat([self.answers, values]) if len(self) else values
        return TransferSet(torch.cat([self.images, images]), answers)

    @property
    def labels(self) -> Tensor:
        """The classes that the victim answered, int64 `[n]`."""
        return Answer(self.answers).labels

    @property
    def targets(self) -> Tensor:
        """What a substitute trains on: labels `[n]`, or probabilities `[n, classes]` that sum to one."""
        if self.answers.dim() == 1:
            return self.answers
        return self.answers / self.answers.sum(1, keepdim=True)
