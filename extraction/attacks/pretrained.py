"""Knockoff Nets with a substitute that begins with weights trained elsewhere.

Orekondy, Schiele, Fritz 2019 begin with weights of ImageNet. What such features are worth in a stolen model
is measured by Raj et al. 2025 with a CIFAR-10 victim. Here the substitute gets the weights before it
learns from the answers: all of it is tuned to them, or its last layer alone, a linear probe.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from extraction.attacks.base import Attacker
from extraction.attacks.k_center import features
from extraction.attacks.knockoff import Knockoff
from storage.files import read_tensors
from storage.identity import stable_id
from storage.typed import check_declared
from training.fit import fit
from training.recipe import Augmentation, Recipe
from training.seeds import derive_seed
from victims.architectures.build import Normalized

Tuned = Literal["all", "head"]
Normalization = Literal["imagenet", "pool"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Means and standard deviations of red, green and blue, by which torchvision's weights expect images."""


@stable_id("attack/pretrained")
class Pretrained(Knockoff):
    """Asks as `knockoff` does; each new substitute begins with pretrained weights.

    Args:
        weights: A file with a state dict, or the name of weights of torchvision, such as
            `ResNet18_Weights.IMAGENET1K_V1`, which torchvision fetches once. None: the substitute's own
            random ones.
        tunes: `all` of the substitute, or its last layer, the `head`, on the features of the others.
        normalization: How images are normalised in front of the network: as ImageNet's, or as the pool's. A
            file that holds a normalisation of its own keeps that.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self, weights: str | None, tunes: Tuned = "all", normalization: Normalization = "imagenet"
    ) -> None:
        self.weights, self.tunes, self.normalization = weights, tunes, normalization
        check_declared(self, "attack.rule")

    def check_substitute(self, network: nn.Module) -> None:
        """See Attack: the weights must be there, and be those of such a network."""
        self.begin(network)

    def begin(self, network: nn.Module) -> None:
        """Give a new network the weights; its last layer keeps its own where it has another shape.

        Raises:
            ValueError: The weights cannot be had, or are not those of such a network.
        """
        head = last_layer(network)
        if self.tunes == "head" and not isinstance(head, nn.Linear):
            raise ValueError(
                f"attack.rule.tunes=head needs a substitute whose last layer is linear, not a {_kind(head)}"
            )
        if self.weights is None:
            return
        if self.normalization == "imagenet" and isinstance(network, Normalized):
            _normalise_as_imagenet(network)
        self._load(network, head, stored_weights(self.weights))

    def _load(self, network: nn.Module, head: nn.Module, stored: dict[str, Tensor]) -> None:
        """Load weights into the network, or into the one inside that has the same names."""
        inner = max(_nested(network), key=lambda it: len(it.state_dict().keys() & stored.keys()))
        own = inner.state_dict()
        fitting = {name: it for name, it in stored.items() if name in own and it.shape == own[name].shape}
        of_head = {id(parameter) for parameter in head.parameters()}
        needed = [name for name, it in inner.named_parameters() if id(it) not in of_head]
        strange = [name for name in needed if name not in fitting]
        if strange:
            raise ValueError(
                f"attack.rule.weights={self.weights} are not those of the substitute: {len(strange)} of its "
                f"{len(needed)} tensors have no match, {strange[0]} among them; choose the substitute's "
                "architecture after the weights"
            )
        inner.load_state_dict(fitting, strict=False)

    def train(self, attacker: Attacker, network: nn.Module, recipe: Recipe) -> None:
        """See Attack: a network that is trained further, under `attack.warm_start`, has begun before."""
        if network is not attacker.substitute:
            self.begin(network)
        if self.tunes == "all":
            super().train(attacker, network, recipe)
            return
        known, hardware = attacker.transfer_set, attacker.hardware
        inputs = features(hardware.place(network), known.images, hardware)[:, :, None, None]
        probe = nn.Sequential(nn.Flatten(), last_layer(network))
        seed = derive_seed(attacker.seed, "substitute training", attacker.round)
        fit(probe, inputs, known.targets, replace(recipe, augmentation=Augmentation()), hardware, seed)
        network.eval()


def stored_weights(weights: str) -> dict[str, Tensor]:
    """The state dict in a file, or of torchvision's weights by their name; raises ValueError."""
    if Path(weights).is_file():
        content = read_tensors(weights, "attack.rule.weights")
        stored = content.get("state_dict", content) if isinstance(content, dict) else None
        if not isinstance(stored, dict) or not all(isinstance(it, Tensor) for it in stored.values()):
            raise ValueError(f"attack.rule.weights={weights} holds no state dict")
        return stored
    import torchvision  # here, since it takes seconds

    try:
        named = torchvision.models.get_weight(weights)
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"attack.rule.weights={weights} is neither a file nor the name of weights of torchvision, such "
            "as ResNet18_Weights.IMAGENET1K_V1"
        ) from error
    try:
        fetched: dict[str, Tensor] = named.get_state_dict(progress=False, check_hash=True)
        return fetched
    except OSError as error:
        raise ValueError(f"attack.rule.weights={weights} cannot be fetched: {error}") from error


def last_layer(network: nn.Module) -> nn.Module:
    """The last module that has weights and no other modules inside."""
    leaves = [it for it in network.modules() if not list(it.children()) and list(it.parameters())]
    return leaves[-1]


def _nested(network: nn.Module) -> list[nn.Module]:
    """A network, the one that it wraps, and so on."""
    nested = [network]
    while isinstance(inner := getattr(nested[-1], "network", None), nn.Module):
        nested.append(inner)
    return nested


def _normalise_as_imagenet(network: Normalized) -> None:
    for buffer, values in zip((network.mean, network.std), IMAGENET, strict=True):
        colours = torch.tensor(values)[:, None, None]
        buffer.copy_(colours if len(buffer) == 3 else colours.mean(0, keepdim=True))


def _kind(module: nn.Module) -> str:
    return type(module).__name__
