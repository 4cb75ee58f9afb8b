"""The 1,797 handwritten digits that come with scikit-learn (8x8, 16 grey levels); no download."""

from __future__ import annotations

import torch

from storage.typed import Count
from victims.datasets import bundled
from victims.datasets.images import ImageSet, check_image_size


def load(image_size: tuple[Count, Count] | None = (16, 16)) -> dict[str, ImageSet]:
    """Return one part, `train`, resized to `image_size` (height, width); None keeps 8x8."""
    check_image_size(image_size)
    pixels, classes = bundled.digits()
    images = torch.from_numpy(pixels)[:, None].mul(255 / 16).round().to(torch.uint8)
    labels = torch.from_numpy(classes)
    part = ImageSet.decoded(images, labels, tuple("0123456789"))
    return {"train": part.conform((1, *(image_size or part.image_shape[1:])))}
