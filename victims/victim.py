"""The victim: the network that is served, trained or loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from training.fit import fit
from training.recipe import Hardware, Recipe
from training.seeds import derive_seed, seeded
from victims.architectures.build import Architecture, build_network
from victims.datasets.images import ImageSet


@dataclass(frozen=True)
class VictimSettings:
    """How a victim is made.

    Attributes:
        architecture: Factory of the network.
        recipe: How it is trained.
        seed: Seed of initial weights and training.
        normalize: Whether images are normalised by the training data's channel statistics in front of the
            network; false for a network of your own that normalises inside itself.
        checkpoint: File of trained weights to load instead of training; None to train.
    """

    architecture: Architecture
    recipe: Recipe
    seed: int
    normalize: bool = True
    checkpoint: str | None = None


def build_victim(settings: VictimSettings, train: ImageSet) -> nn.Module:
    """Build the untrained network; raises ValueError if it does not fit the data."""
    with seeded(settings.seed, "victim"):
        return build_network(
            settings.architecture,
            train.image_shape,
            train.num_classes,
            train.images if settings.normalize else None,
        )


def make_victim(settings: VictimSettings, train: ImageSet, hardware: Hardware) -> nn.Module:
    """Train the victim, or load it from its checkpoint.

    Args:
        settings: How the victim is made.
        train: Its training images.
        hardware: Where it is trained.

    Returns:
        The network in evaluation mode, on the hardware's device.

    Raises:
        ValueError: The network does not fit the data, or the checkpoint does not fit the network.
    """
    network = build_victim(settings, train)
    if settings.checkpoint is not None:
        load_weights(network, Path(settings.checkpoint))
        return hardware.place(network).eval()
    seed = derive_seed(settings.seed, "victim training")
    fit(network, train.images, train.labels, settings.recipe, hardware, seed, progress=True)
    return network


def load_weights(network: nn.Module, path: Path) -> None:
    """Load weights into a network.

    Args:
        network: The network; the weights may be those of the network inside our normalisation, too.
        path: A file with a state dict, or a Lightning checkpoint, which holds one under `state_dict`.

    Raises:
        ValueError: The file is missing, unreadable or of another network; the message names the option
            victim.checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that holds no weights can make the unpickler raise anything
        raise ValueError(f"victim.checkpoint={path} cannot be read as weights: {error}") from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise ValueError(f"victim.checkpoint={path} holds no state dict but a {type(content).__name__}")
    inner = getattr(network, "network", network)
    target = network if set(weights) == set(network.state_dict()) else inner
    try:
        target.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"victim.checkpoint={path} does not fit victim.architecture: {error}") from error
