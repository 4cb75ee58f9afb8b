"""The victim: the network that is served, trained or loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from storage.files import read_tensors
from storage.typed import Natural
from training.divergence import Diverged, not_finite
from training.fit import fit
from training.recipe import Hardware, Recipe
from training.seeds import derive_seed, seeded
from victims.architectures.build import Architecture, Normalized, build_network
from victims.architectures.function import is_trainable
from victims.datasets.images import ImageSet

CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Where checkpoints keep their weights: Lightning's, those of PyTorch's tutorials and of scripts."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
"""What DataParallel, torch.compile and Lightning modules put before the names of weights."""

NAMED = 5
"""So many weights, at most, are named for each way in which a checkpoint differs."""


@dataclass(frozen=True)
class VictimSettings:
    """How a victim is made.

    Attributes:
        architecture: Factory of the network.
        recipe: How it is trained.
        seed: Seed of initial weights and training.
        normalize: Whether images are normalised by the training data's channel statistics in front of the
            network. None: of a network that is trained here, and of a checkpoint of such a one; another
            checkpoint is served as it was trained, on images in [0, 1].
        checkpoint: File of trained weights to load instead of training; None to train.
    """

    architecture: Architecture
    recipe: Recipe
    seed: Natural
    normalize: bool | None = None
    checkpoint: str | None = None

    @property
    def normalizes(self) -> bool:
        """Whether images are normalised; raises ValueError for a checkpoint that cannot be read."""
        if self.normalize is None and self.checkpoint is not None:
            return _is_normalized(_read_weights(Path(self.checkpoint)))
        return self.normalize is not False


def build_victim(settings: VictimSettings, train: ImageSet) -> nn.Module:
    """Build the untrained network; raises ValueError if it does not fit the data."""
    with seeded(settings.seed, "victim"):
        return build_network(
            settings.architecture,
            train.image_shape,
            train.num_classes,
            train.images if settings.normalizes else None,
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
    if not is_trainable(network):
        return hardware.place(network).eval()
    seed = derive_seed(settings.seed, "victim training")
    try:
        fit(network, train.images, train.labels, settings.recipe, hardware, seed, progress=True)
    except Diverged as error:
        raise Diverged(f"victim: {error}") from error
    return network


def load_weights(network: nn.Module, path: Path) -> None:
    """Load weights into a network.

    Args:
        network: The network; the weights may be those of the network inside our normalisation, too.
        path: A file with a state dict, or with one in a container, such as a Lightning checkpoint; its names
            may have the prefixes that DataParallel, torch.compile and Lightning modules put before them.

    Raises:
        ValueError: The file is missing, unreadable, of another network, or holds NaN; the message names the
            option victim.checkpoint, and the weights that differ.
    """
    weights = _read_weights(path)
    inner = getattr(network, "network", network)
    targets = (network, inner) if isinstance(network, Normalized) else (network,)
    for target in targets:
        renamed = _renamed(weights, set(target.state_dict()))
        if not _differences(renamed, target.state_dict()):
            break
    else:
        said = "; ".join(_differences(renamed, target.state_dict()))
        raise ValueError(f"victim.checkpoint={path} does not fit victim.architecture: {said}")
    if wrong := not_finite(renamed):
        raise ValueError(f"victim.checkpoint={path}: {wrong} holds NaN or infinity; its training diverged")
    target.load_state_dict(renamed)


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a file; raises ValueError naming victim.checkpoint where there are none."""
    content = read_tensors(path, "victim.checkpoint")
    weights = _state_dict(content)
    if weights is None:
        raise ValueError(f"victim.checkpoint={path} holds no state dict but a {type(content).__name__}")
    return weights


def _is_normalized(weights: dict[str, Tensor]) -> bool:
    """Whether these are the weights of a network with our normalisation in front."""
    return {"mean", "std"} < set(weights) and all(
        name in ("mean", "std") or name.startswith("network.") for name in weights
    )


def _state_dict(content: object) -> dict[str, Tensor] | None:
    """The weights in a checkpoint's content; None where there are none."""
    if not isinstance(content, dict):
        return None
    if content and all(isinstance(values, Tensor) for values in content.values()):
        return dict(content)
    inside = (_state_dict(content[name]) for name in CONTAINERS if name in content)
    return next((weights for weights in inside if weights), None)


def _renamed(weights: dict[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    """The weights without the prefixes that all those of the network's names share.

    Weights with other prefixes, such as those of a loss or a metric, are left out then.
    """
    while not names & set(weights):
        prefix = next((each for each in PREFIXES if any(name.startswith(each) for name in weights)), None)
        if prefix is None:
            break
        weights = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
    return weights


def _differences(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """What the weights lack, what they have too many, and where their shapes differ, in words."""
    shared = sorted(set(weights) & set(expected))
    kinds = {
        "it lacks": sorted(set(expected) - set(weights)),
        "it has besides": sorted(set(weights) - set(expected)),
        "other shapes": [
            f"{name} {tuple(weights[name].shape)} for {tuple(expected[name].shape)}"
            for name in shared
            if weights[name].shape != expected[name].shape
        ],
    }
    return [
        f"{kind}: {', '.join(names[:NAMED])}" + (f" and {len(names) - NAMED} more" if names[NAMED:] else "")
        for kind, names in kinds.items()
        if names
    ]
