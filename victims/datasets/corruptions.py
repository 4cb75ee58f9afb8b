"""Light corruptions of images, as they come from honest users' cameras and crops."""

from __future__ import annotations

import torch
from torch import Tensor

NOISE, BRIGHTNESS, SHIFT = 0.05, 0.1, 1
"""Standard deviation of noise and largest change of brightness, on the scale [0, 1]; shift in pixels."""


def lightly_corrupted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Corrupt each image in one way at random: noise, another brightness, or a shift by a pixel.

    Args:
        images: Float32 in [0, 1], `[n, c, h, w]`.
        generator: CPU generator.

    Returns:
        Corrupted images of the same shape and range; pixels that a shift moves in are 0.
    """
    count, shape = len(images), images.shape
    kind = torch.randint(3, (count, 1, 1, 1), generator=generator).to(images.device)
    noisy = images + NOISE * torch.randn(shape, generator=generator).to(images.device)
    change = BRIGHTNESS * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1).to(images.device)
    shifted = _shifted(images, torch.randint(4, (count,), generator=generator).to(images.device))
    return torch.where(kind == 0, noisy, torch.where(kind == 1, images + change, shifted)).clamp(0, 1)


def _shifted(images: Tensor, direction: Tensor) -> Tensor:
    """Move each image by SHIFT pixels: directions 0 to 3 are down, up, right and left."""
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (SHIFT, SHIFT, SHIFT, SHIFT))
    corners = [(0, SHIFT), (2 * SHIFT, SHIFT), (SHIFT, 0), (SHIFT, 2 * SHIFT)]
    views = torch.stack([padded[:, :, top : top + height, left : left + width] for top, left in corners])
    return views[direction, torch.arange(len(images), device=images.device)]
