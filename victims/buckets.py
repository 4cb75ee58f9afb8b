"""Buckets cut the victim's feature space into parts: how many of them does an account ask about?

The space is that of the penultimate layer: what goes into the network's last linear layer. Random hyperplanes
through the mean of the training images cut it (locality-sensitive hashing, Charikar 2002), so that equal and
nearly equal images fall into one bucket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from storage.identity import stable_id
from storage.typed import Bounds, Natural, check_declared
from training.fit import predict_logits
from training.recipe import Hardware
from training.seeds import generator
from victims.datasets.images import ImageSet

TRAINING_IMAGES = 2000
"""So many training images, at most, say where the middle of the feature space is."""


@stable_id("buckets")
@dataclass(frozen=True)
class BucketSettings:
    """How the feature space is cut: `hyperplanes` make 2 ** hyperplanes buckets, and `seed` draws them.

    Raises ValueError naming the option where there are fewer than 1 or more than 12.
    """

    hyperplanes: Annotated[int, Bounds(1, 12)] = 8
    seed: Natural = 0

    def __post_init__(self) -> None:
        check_declared(self, "privacy.buckets")


class Features(nn.Module):
    """What goes into the last linear layer of a network; its logits, where it has no such layer.

    Args:
        network: Maps images `[n, c, h, w]` to logits `[n, classes]`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1:]

    def forward(self, images: Tensor) -> Tensor:
        """Return the features `[n, d]` of images in [0, 1] `[n, c, h, w]`."""
        seen: list[Tensor] = []
        hooks = [
            last.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for last in self._last
        ]
        try:
            logits = self.network(images)
        finally:
            for hook in hooks:
                hook.remove()
        return (seen[-1] if seen else logits).flatten(1)


class Buckets:
    """The buckets of one victim.

    Args:
        network: The victim's network.
        train: Its training images.
        hardware: Where it is asked.
        settings: How the space is cut.
    """

    def __init__(
        self, network: nn.Module, train: ImageSet, hardware: Hardware, settings: BucketSettings
    ) -> None:
        self._features, self._hardware = Features(network).eval(), hardware
        features = self._of(train.images[:TRAINING_IMAGES])
        self._middle = features.mean(0)
        normals = torch.randn(
            features.shape[1],
            settings.hyperplanes,
            generator=generator(settings.seed, "buckets"),
            dtype=torch.float64,
        )
        self._normals = normals.to(features.device)

    def of(self, images: Tensor) -> Tensor:
        """Return the bucket of each image, uint8 or in [0, 1], `[n, c, h, w]`: int64 `[n]`."""
        sides = (self._of(images) - self._middle) @ self._normals > 0
        places = 2 ** torch.arange(sides.shape[1], device=sides.device)
        return (sides * places).sum(1)

    def _of(self, images: Tensor) -> Tensor:
        return predict_logits(self._features, images, self._hardware).double()
