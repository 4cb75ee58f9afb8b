"""Jacobian-based data-set augmentation, JBDA (Papernot et al. 2017, "Practical Black-Box Attacks").

From a few images of its own, the attacker makes new ones by stepping along the sign of the substitute's
gradient of the class that the victim answered (Algorithm 1, line 6): x + step * sign(dF_label/dx).
Each round at most doubles the transfer set; beyond `count` images a random subset is stepped from
(the reservoir sampling of the paper's section 5.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from extraction.attacks.base import Attacker, QueryAttack, random_pool_images
from storage.identity import stable_id
from training.recipe import Hardware
from training.seeds import generator
from victims.datasets.images import ImageSet


@stable_id("attack/jacobian")
class Jacobian(QueryAttack):
    """`initial` random images of the pool first; then steps of size `step` in every pixel."""

    def __init__(self, initial: int, step: float) -> None:
        if initial < 1:
            raise ValueError(f"attack.rule.initial must be at least 1, not {initial}")
        if step <= 0:
            raise ValueError(f"attack.rule.step must be above 0, not {step}")
        self.initial = initial
        self.step = step

    def supply(self, pool: ImageSet, other_pool: ImageSet | None) -> int | None:
        """No limit: images are made."""
        return None

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """Initial images of the pool in the first round, images made from the transfer set afterwards."""
        if attacker.substitute is None:
            return random_pool_images(attacker, min(count, self.initial, len(attacker.pool)))
        known = attacker.transfer_set
        order = torch.randperm(len(known), generator=generator(attacker.seed, "jacobian", attacker.round))
        index = order[:count].to(known.images.device)
        images, labels = known.images[index], known.labels[index]
        gradient = label_gradient(
            attacker.substitute, images, self.classes(attacker, labels), attacker.hardware
        )
        return (images + self.step * gradient.sign()).clamp_(0, 1)

    def classes(self, attacker: Attacker, labels: Tensor) -> Tensor:
        """Whose gradient is followed, for images with these answers; int64 `[n]`."""
        return labels


def label_gradient(network: nn.Module, images: Tensor, labels: Tensor, hardware: Hardware) -> Tensor:
    """Gradient of each image's logit at the label given for it, `[n, c, h, w]`, in one backward pass a batch.

    An image's logits depend on that image alone (the network is in evaluation mode), so the gradient of
    the sum over the batch holds each image's own gradient.
    """
    network.eval()
    gradients = []
    for batch, wanted in zip(
        images.split(hardware.batch_size), labels.split(hardware.batch_size), strict=True
    ):
        inputs = batch.detach().clone().requires_grad_(True)
        chosen = network(inputs).gather(1, wanted[:, None]).sum()
        gradients.append(torch.autograd.grad(chosen, inputs)[0])
    return torch.cat(gradients)
