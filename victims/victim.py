"""Training the network that is served."""

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
    """A victim's architecture and recipe, or the checkpoint of one that exists already.

    `normalize` puts the training data's channel statistics in front of the network; a network of one's
    own that normalises inside itself sets it to false.
    """

    architecture: Architecture
    recipe: Recipe
    seed: int
    normalize: bool = True
    checkpoint: str | None = None


def build_victim(settings: VictimSettings, train: ImageSet) -> nn.Module:
    """The untrained network; raises ValueError where it does not fit the data."""
    with seeded(settings.seed, "victim"):
        return build_network(
            settings.architecture,
            train.image_shape,
            train.num_classes,
            train.images if settings.normalize else None,
        )


def make_victim(settings: VictimSettings, train: ImageSet, hardware: Hardware) -> nn.Module:
    """The trained network, in evaluation mode: trained by the recipe, or loaded from the checkpoint."""
    network = build_victim(settings, train)
    if settings.checkpoint is not None:
        load_weights(network, Path(settings.checkpoint))
        return hardware.place(network).eval()
    seed = derive_seed(settings.seed, "victim training")
    fit(network, train.images, train.labels, settings.recipe, hardware, seed, progress=True)
    return network


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a checkpoint: a state dict, or a Lightning checkpoint that holds one under `state_dict`.

    Weights of the network alone fit also when it stands behind our normalisation. Raises ValueError
    naming victim.checkpoint when the file is missing, unreadable or of another network.
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
