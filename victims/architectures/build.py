"""Networks built by an architecture's factory, with the normalisation of their input inside."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from victims.architectures.function import is_trainable

Architecture = Callable[..., nn.Module]
"""A factory of networks. It gets `image_shape` and `num_classes`, if it has parameters of these names."""


class Normalized(nn.Module):
    """Normalises images and passes them to a network, so that callers always give images in [0, 1].

    Args:
        network: Maps normalised images `[n, c, h, w]` to logits `[n, classes]`.
        mean: Mean of each channel, `[c]`.
        std: Standard deviation of each channel, `[c]`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean.float().reshape(-1, 1, 1))
        self.register_buffer("std", std.float().reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `[n, classes]` of images in [0, 1] `[n, c, h, w]`."""
        return self.network((images - self.mean) / self.std)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation `[c]`, on the scale [0, 1], of uint8 images `[n, c, h, w]`."""
    counts = torch.stack([channel.flatten().bincount(minlength=256) for channel in images.unbind(1)]).double()
    share = counts / counts.sum(1, keepdim=True)
    levels = torch.arange(256, device=images.device) / 255
    mean = (share * levels).sum(1)
    variance = (share * (levels - mean[:, None]) ** 2).sum(1)
    return mean, variance.sqrt().clamp_min(1e-3)


def build_network(
    architecture: Architecture,
    image_shape: tuple[int, int, int],
    num_classes: int,
    normalize_by: Tensor | None = None,
) -> nn.Module:
    """Build a network, and check that it fits the data.

    Args:
        architecture: Factory of the network.
        image_shape: Channels, height and width of its images.
        num_classes: Logits that it must give.
        normalize_by: Images uint8 `[n, c, h, w]` whose channel statistics normalise its input; None for no
            normalisation. A network without weights gets images as they are.

    Raises:
        ValueError: The network does not take such images, or does not give `num_classes` logits.
    """
    if not callable(architecture):
        raise ValueError(
            f"the option architecture must be a group of options with a _target_, not {architecture!r}"
        )
    offered = {"image_shape": tuple(image_shape), "num_classes": num_classes}
    parameters = inspect.signature(architecture).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    network = architecture(**{k: v for k, v in offered.items() if takes_all or k in parameters})
    if normalize_by is not None and is_trainable(network):
        network = Normalized(network, *channel_statistics(normalize_by))
    _check_output(network, tuple(image_shape), num_classes)
    return network


@torch.no_grad()
def _check_output(network: nn.Module, image_shape: tuple[int, ...], num_classes: int) -> None:
    """Raise ValueError unless the network gives `num_classes` finite logits for images of `image_shape`."""
    training = network.training
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    try:
        output = network.eval()(images)
    except ValueError:
        raise
    except Exception as error:  # networks check their input by assertions, by indices, by nothing at all
        raise ValueError(f"this architecture cannot take images of shape {image_shape}: {error}") from error
    finally:
        network.train(training)
    needed = "logits" if is_trainable(network) else "probabilities"
    if not isinstance(output, Tensor):
        raise ValueError(
            f"this architecture answers a {type(output).__name__}, but a tensor of {needed} is needed"
        )
    if tuple(output.shape) != (2, num_classes):
        raise ValueError(
            f"this architecture answers {tuple(output.shape)[1:]} for one image, but the data set has "
            f"{num_classes} classes, so {num_classes} {needed} are needed"
        )
    if not output.isfinite().all():
        raise ValueError("this architecture answers NaN or infinity; its initial weights are broken")
    if num_classes > 1 and bool((output >= 0).all()) and bool((output.sum(1) - 1).abs().max() < 1e-5):
        raise ValueError(
            "this architecture answers probabilities, but logits are needed (a softmax follows): leave out "
            "the softmax at its end"
        )
