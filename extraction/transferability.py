"""Transferability: do adversarial examples made on the substitute mislead the victim too?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from storage.typed import AboveNone, Count, check_declared
from training.batches import to_float
from training.fit import accuracy, predict_logits
from training.recipe import Hardware


@dataclass(frozen=True)
class TransferSettings:
    """How adversarial examples are made.

    Attributes:
        epsilon: Largest change of a pixel (L-infinity norm, images in [0, 1]).
        steps: Steps of projected gradient descent.
        images: Test images to attack, at most.

    Raises:
        ValueError: An option is out of range; the message names it.
    """

    epsilon: AboveNone
    steps: Count
    images: Count

    def __post_init__(self) -> None:
        check_declared(self, "dataset.transfer")


def pgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    settings: TransferSettings,
    hardware: Hardware,
    random: torch.Generator,
) -> Tensor:
    """Make adversarial examples by projected gradient descent.

    From a random start, each step moves by 2.5 epsilon / steps along the sign of the gradient of the cross
    entropy, and is then projected to the epsilon ball and to [0, 1] (Madry et al. 2018, "Towards Deep
    Learning Models Resistant to Adversarial Attacks", section 2.1).

    Args:
        network: The network to mislead; it is put into evaluation mode.
        images: Uint8, or float32 in [0, 1], `[n, c, h, w]`.
        labels: Classes that the network should no longer answer, int64 `[n]`.
        settings: Epsilon and the number of steps.
        hardware: Where to compute, and how many images at a time.
        random: CPU generator of the random start.

    Returns:
        The adversarial examples, float32 in [0, 1] `[n, c, h, w]`.
    """
    network.eval()
    clean = to_float(images.to(hardware.device))
    offset = (2 * torch.rand(clean.shape, generator=random) - 1) * settings.epsilon
    start = (clean + offset.to(clean.device)).clamp(0, 1)
    labels = labels.to(clean.device)
    size = hardware.batch_size
    parts = zip(clean.split(size), start.split(size), labels.split(size), strict=True)
    return torch.cat([_pgd_steps(network, *part, settings, hardware) for part in parts])


def _pgd_steps(
    network: nn.Module,
    clean: Tensor,
    start: Tensor,
    labels: Tensor,
    settings: TransferSettings,
    hardware: Hardware,
) -> Tensor:
    """Run the steps of `pgd` on one batch."""
    layout = torch.channels_last if hardware.channels_last else torch.contiguous_format
    step = 2.5 * settings.epsilon / settings.steps
    low, high = (clean - settings.epsilon).clamp_min(0), (clean + settings.epsilon).clamp_max(1)
    adversarial = start
    for _ in range(settings.steps):
        inputs = adversarial.contiguous(memory_format=layout).requires_grad_(True)
        # Summed, not averaged: an image's gradient must not depend on the size of its batch.
        loss = cross_entropy(network(inputs), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, inputs)
        adversarial = torch.clamp(inputs.detach() + step * gradient.sign(), low, high)
    return adversarial


def share_misled(network: nn.Module, images: Tensor, labels: Tensor, hardware: Hardware) -> float:
    """Return the share in [0, 1] of the images whose class by `network` is not their label `[n]`."""
    return 1 - accuracy(predict_logits(network, images, hardware), labels)


def mean_divergence(victim: Tensor, substitute: Tensor) -> float:
    """Return the mean KL divergence KL(victim || substitute) in nats, for logits `[n, classes]`."""
    of_victim, of_substitute = (logits.double().log_softmax(1) for logits in (victim, substitute))
    return float(kl_div(of_substitute, of_victim, reduction="batchmean", log_target=True))
