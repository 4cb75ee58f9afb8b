"""Any classification network of torchvision, by name."""

from __future__ import annotations

import difflib

from torch import Tensor, nn

from storage.identity import stable_id
from storage.typed import Count


class _AsColour(nn.Module):
    """Lets a network for colour images take grey ones: the grey channel is given three times."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.expand(-1, 3, -1, -1))


class _Scaled(nn.Module):
    """Scales images before a network, which was made for larger ones, say."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, images: Tensor) -> Tensor:
        sides = (self.size, self.size)
        scaled = nn.functional.interpolate(images, sides, mode="bilinear", antialias=True)
        return self.network(scaled)


@stable_id("network/torchvision")
def torchvision_model(
    name: str, image_shape: tuple[int, int, int], num_classes: int, size: Count | None = None
) -> nn.Module:
    """Build `torchvision.models.<name>` with new weights.

    Args:
        name: The network's name.
        image_shape: Channels, height and width of images.
        num_classes: Logits.
        size: Height and width that images are scaled to first; None: as they are.

    Raises:
        ValueError: There is no such network, or `size` is no size.
    """
    if size is not None and not (isinstance(size, int) and size >= 1):
        raise ValueError(f"architecture.size must be a whole number of at least 1, or null, not {size!r}")
    import torchvision  # here, since it takes seconds

    valid = torchvision.models.list_models(module=torchvision.models)
    if name not in valid:
        close = difflib.get_close_matches(str(name), valid, 3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(
            f"torchvision has no classification network {name!r}; {hint}valid: {', '.join(valid)}"
        )
    network = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    network = network if size is None else _Scaled(network, size)
    return _AsColour(network) if image_shape[0] == 1 else network
