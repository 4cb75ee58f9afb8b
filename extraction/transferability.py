"""What a stolen model is good for beyond its own answers: attacks on the victim that are made on the copy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from storage.options import check_options
from training.batches import to_float
from training.fit import accuracy, predict_logits
from training.recipe import Hardware


@dataclass(frozen=True)
class TransferSettings:
    """PGD with `steps` steps, at most `epsilon` (L-infinity, images in [0, 1]) away from at most `images`.

    Raises ValueError naming the option for what makes no sense.
    """

    epsilon: float
    steps: int
    images: int

    def __post_init__(self) -> None:
        check = partial(check_options, self, "dataset.transfer")
        check("epsilon", valid=lambda it: 0 < it <= 1, rule="above 0 and up to 1")
        whole = "a whole number of at least 1"
        check("steps", "images", valid=lambda it: isinstance(it, int) and it >= 1, rule=whole)


def pgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: TransferSettings,
    hardware: Hardware,
    random: torch.Generator,
) -> Tensor:
    """Images near `images` `[n, c, h, w]` that `network` takes for anything but `labels` `[n]`.

    Projected gradient descent (Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial
    Attacks", section 2.1): from a random start, steps of 2.5 epsilon / steps along the sign of the gradient
    of the cross entropy, each followed by the projection to the ball and to [0, 1]. Returns float32.
    """
    network.eval()
    clean = to_float(images.to(hardware.device))
    start = (2 * torch.rand(clean.shape, generator=random) - 1) * settings.epsilon
    started = (clean + start.to(clean.device)).clamp(0, 1)
    labels = labels.to(clean.device)
    size = hardware.batch_size
    parts = zip(clean.split(size), started.split(size), labels.split(size), strict=True)
    return torch.cat([_climb(network, *part, settings, hardware) for part in parts])


def _climb(
    network: nn.Module,
    clean: Tensor,
    started: Tensor,
    labels: Tensor,
    settings: TransferSettings,
    hardware: Hardware,
) -> Tensor:
    """The steps of `pgd` for one batch."""
    layout = torch.channels_last if hardware.channels_last else torch.contiguous_format
    step = 2.5 * settings.epsilon / settings.steps
    low, high = (clean - settings.epsilon).clamp_min(0), (clean + settings.epsilon).clamp_max(1)
    found = started
    for _ in range(settings.steps):
        inputs = found.contiguous(memory_format=layout).requires_grad_(True)
        loss = cross_entropy(network(inputs), labels, reduction="sum")  # no image's gradient is of another's
        (gradient,) = torch.autograd.grad(loss, inputs)
        found = torch.clamp(inputs.detach() + step * gradient.sign(), low, high)
    return found


def share_misled(network: nn.Module, images: Tensor, labels: Tensor, hardware: Hardware) -> float:
    """Share of the images that `network` does not take for their labels `[n]`."""
    return 1 - accuracy(predict_logits(network, images, hardware), labels)


def mean_divergence(victim: Tensor, substitute: Tensor) -> float:
    """Mean Kullback-Leibler divergence KL(victim || substitute) in nats, of logits `[n, classes]`."""
    of_victim, of_substitute = (logits.double().log_softmax(1) for logits in (victim, substitute))
    return float(kl_div(of_substitute, of_victim, reduction="batchmean", log_target=True))
