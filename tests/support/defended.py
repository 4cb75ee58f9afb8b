"""A small victim to complete defenses for, and probabilities to try them on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.recipe import Hardware
from victims.datasets import digits
from victims.defenses.base import AuxiliarySettings, DefendedVictim, Perturbation

CPU = Hardware(accelerator="cpu", precision="32-true", channels_last=False)


def small_net(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    channels, height, width = image_shape
    return nn.Sequential(
        nn.Flatten(), nn.Linear(channels * height * width, 12), nn.Tanh(), nn.Linear(12, num_classes)
    )


def victim(seed: int = 0, network: nn.Module | None = None) -> DefendedVictim:
    """An untrained victim; what its defense trains is `network`, or is trained."""
    train = digits.load((8, 8))["train"].select(slice(0, 300))
    own = small_net((1, 8, 8), 10)

    def trained(settings: AuxiliarySettings) -> nn.Module:
        if network is not None:
            return network
        made = settings.untrained(own, train)
        settings.fit(made, own, train, CPU)
        return made.eval()

    return DefendedVictim(own, train, CPU, seed, trained)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def answers(count: int, classes: int = 10, seed: int = 0) -> Tensor:
    """Probabilities float32 as networks give them, of all sharpnesses: some almost one, some almost equal."""
    random = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-6, 1.8, count)[:, None]
    return (scale * torch.randn(count, classes, generator=random)).softmax(1)


def perturbed(defense: Perturbation, probabilities: Tensor, asked: Tensor, first: int = 0) -> Tensor:
    return defense.bind(victim())(asked, probabilities, first)
