"""Gaussian noise on probabilities, as in the baselines of Orekondy et al. 2020, "Prediction Poisoning"."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from storage.identity import stable_id
from storage.typed import NonNegative, check_declared
from training.seeds import derive_seed, generator
from victims.defenses.base import DefendedVictim, Perturb, Perturbation

Noise = Literal["fixed", "fresh"]

MIXERS = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))
"""Shifts and factors of splitmix64's finaliser (Steele et al. 2014), the factors as signed integers."""

GOLDEN = -0x61C8864680B583EB
"""2^64 over the golden ratio, as a signed integer: splitmix64's step."""


@stable_id("defense/gaussian_noise")
class GaussianNoise(Perturbation):
    """y' = y + sigma * n, n standard normal, below zero cut to zero, and then divided by the sum.

    `fixed` noise is a function of the image, so that to ask again tells nothing new; `fresh` noise is not.
    An answer of which nothing is left stays as it was.
    """

    def __init__(self, sigma: NonNegative, noise: Noise) -> None:
        self.sigma, self.noise = sigma, noise
        check_declared(self, "defense.gaussian_noise")

    @property
    def repeats_itself(self) -> bool:
        """Whether the same image gets the same answer."""
        return self.noise == "fixed"

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation."""
        seed = victim.seed

        def perturb(images: Tensor, probabilities: Tensor, first: int) -> Tensor:
            classes = probabilities.shape[1]
            if self.noise == "fixed":
                noise = noise_of_images(images, classes, seed)
            else:
                random = generator(seed, "noise", first)
                noise = torch.randn(len(images), classes, generator=random, dtype=torch.float64)
            return self._noisy(probabilities, noise.to(probabilities.device))

        return perturb

    def _noisy(self, probabilities: Tensor, noise: Tensor) -> Tensor:
        changed = (probabilities.double() + self.sigma * noise).clamp_min(0)
        total = changed.sum(1, keepdim=True)
        return torch.where(total > 0, changed / total, probabilities.double()).float()


def noise_of_images(images: Tensor, count: int, seed: int) -> Tensor:
    """Standard normal numbers, functions of each image's pixels: float64 `[n, count]` for `[n, c, h, w]`.

    The bits of the pixels are hashed with secret random weights (multilinear hashing modulo 2^64), and
    splitmix64 makes the numbers of the hash, so no image's noise tells of another's.
    """
    pixels = images.float().contiguous().flatten(1).view(torch.int32).long()
    random = generator(seed, "noise of images")
    weights = torch.randint(-(2**63), 2**63 - 1, (pixels.shape[1],), generator=random, dtype=torch.int64)
    hashed = (pixels * (weights.to(pixels.device) | 1)).sum(1) + derive_seed(seed, "offset")
    steps = torch.arange(1, count + 1, device=pixels.device) * GOLDEN
    bits = _mixed(_mixed(hashed)[:, None] + steps)
    uniform = ((bits >> 11 & (2**53 - 1)).double() + 0.5) * 2.0**-53
    return torch.special.ndtri(uniform)


def _mixed(values: Tensor) -> Tensor:
    """splitmix64's finaliser of 64-bit integers; shifts are logical, which torch's are not."""
    for shift, factor in MIXERS:
        values = (values ^ (values >> shift & (2 ** (64 - shift) - 1))) * factor
    return values ^ (values >> 31 & (2**33 - 1))
