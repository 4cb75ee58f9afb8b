"""Squares cut at random from the two photographs inside scikit-learn: natural images without a download.

The out-of-distribution pool of an attacker who has no data of the victim's kind.
"""

from __future__ import annotations

import torch

from victims.datasets.images import ImageSet

SIDES = (8, 16, 32, 64, 128)
"""Sides of the squares in pixels of the photograph."""


def load(
    image_size: tuple[int, int] = (16, 16), count: int = 10_000, channels: int = 1, seed: int = 0
) -> dict[str, ImageSet]:
    """One part, `train`, of `count` patches; the label says which photograph. Drawn from `seed`."""
    from sklearn.datasets import load_sample_images

    photographs = torch.stack([torch.tensor(image) for image in load_sample_images().images])
    photographs = photographs.permute(0, 3, 1, 2)
    height, width = photographs.shape[-2:]
    random = torch.Generator().manual_seed(seed)
    images, labels = [], []
    for side, share in zip(SIDES, torch.arange(count).tensor_split(len(SIDES)), strict=True):
        number = len(share)
        which = torch.randint(0, 2, (number,), generator=random)
        top = torch.randint(0, height - side + 1, (number,), generator=random)
        left = torch.randint(0, width - side + 1, (number,), generator=random)
        offsets = torch.arange(side)
        rows, columns = top[:, None] + offsets, left[:, None] + offsets
        patches = photographs[which[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        cut = ImageSet(patches.permute(0, 3, 1, 2), which, ("china", "flower"), "", share, share)
        images.append(cut.conform((channels, *image_size)).images)
        labels.append(which)
    return {"train": ImageSet.decoded(torch.cat(images), torch.cat(labels), ("china", "flower"))}
