"""Images of random shapes: what a generator learns to look like where the attacker has no images at all."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST = 3
"""Shapes in an image, at most."""


def random_shapes(image_shape: tuple[int, int, int], count: int, random: torch.Generator) -> Tensor:
    """Draw filled and hollow ellipses, rectangles and triangles over a plain or noisy background.

    Args:
        image_shape: Channels, height and width of the images.
        count: How many.
        random: Where all choices come from.

    Returns:
        Images float32 in [0, 1], `[count, *image_shape]`.
    """
    channels, height, width = image_shape

    def drawn(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=random)

    noisy = (drawn(1, 1, 1) < 0.5).float()
    images = drawn(channels, 1, 1) * (1 - noisy * drawn(channels, height, width))
    shapes = torch.randint(1, MOST + 1, (count,), generator=random)
    for number in range(MOST):
        covered = _covered(drawn(8), height, width)[:, None] & (number < shapes)[:, None, None, None]
        images = torch.where(covered, drawn(channels, 1, 1), images)
    return images


def _covered(choices: Tensor, height: int, width: int) -> Tensor:
    """Which pixels a shape covers, bool `[n, height, width]`, by eight numbers in [0, 1] `[n, 8]`."""
    across, down, angle, long, wide, kind, hollow, thickness = choices[:, :, None, None].unbind(1)
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    turn, shift_x, shift_y = 2 * math.pi * angle, x - across, y - down
    u = (shift_x * turn.cos() + shift_y * turn.sin()) / (0.1 + 0.4 * long)
    v = (shift_y * turn.cos() - shift_x * turn.sin()) / (0.05 + 0.4 * wide)
    radius = torch.where(
        kind < 1 / 3,
        (u.square() + v.square()).sqrt(),
        torch.where(kind < 2 / 3, u.abs().maximum(v.abs()), (2 * u.abs() + v).maximum(-v)),
    )
    return (radius < 1) & ((hollow < 0.5) | (radius > 0.4 + 0.4 * thickness))
