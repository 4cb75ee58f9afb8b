"""Any classification network of torchvision, by name."""

from __future__ import annotations

import difflib

import torchvision
from torch import Tensor, nn

from storage.identity import stable_id


class _AsColour(nn.Module):
    """Lets a network for colour images take grey ones: the grey channel is given three times."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.expand(-1, 3, -1, -1))


@stable_id("network/torchvision")
def torchvision_model(name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build `torchvision.models.<name>` with new weights; raises ValueError for an unknown name."""
    valid = torchvision.models.list_models(module=torchvision.models)
    if name not in valid:
        close = difflib.get_close_matches(str(name), valid, 3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(
            f"torchvision has no classification network {name!r}; {hint}valid: {', '.join(valid)}"
        )
    network = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    return _AsColour(network) if image_shape[0] == 1 else network
