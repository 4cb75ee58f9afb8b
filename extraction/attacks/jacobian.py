"""Jacobian-based data-set augmentation, JBDA (Papernot et al. 2017, "Practical Black-Box Attacks").

The attacker starts from a few images of its own. It makes new ones by a step along the sign of the
substitute's gradient for the class that the victim answered: x + step * sign(dF_label/dx) (Algorithm 1,
line 6). A round at most doubles the transfer set. If that is more than the round may ask, a random subset is
used (reservoir sampling, the paper's section 5.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from extraction.attacks.base import Attacker, QueryAttack, random_pool_images
from storage.identity import stable_id
from storage.typed import Count, Positive, check_value
from training.recipe import Hardware
from training.seeds import generator
from victims.datasets.images import ImageSet


@stable_id("attack/jacobian@2")
class Jacobian(QueryAttack):
    """Asks about random images of the pool first, then about images made from the transfer set.

    Where a round has room for fewer than the first images, the next rounds ask about the rest of them, and
    new ones are made only then.

    Args:
        initial: Images of the pool to ask about first.
        step: Change of each pixel of an image, on the scale [0, 1].

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(self, initial: Count, step: Positive) -> None:
        self.initial = initial
        self.step = step
        check_value("attack.rule.initial", initial, Count)
        check_value("attack.rule.step", step, Positive)

    def supply(self, pool: ImageSet, other_pool: ImageSet | None) -> int | None:
        """Return None, no limit: the attack makes its images."""
        return None

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """Choose images of the pool until there are `initial`, and make new ones in later rounds."""
        known = attacker.transfer_set
        missing = min(self.initial, len(attacker.pool)) - len(known)
        if attacker.substitute is None or missing > 0:
            return random_pool_images(attacker, min(count, missing))
        order = torch.randperm(len(known), generator=generator(attacker.seed, "jacobian", attacker.round))
        index = order[:count].to(known.images.device)
        images, labels = known.images[index], known.labels[index]
        gradient = label_gradient(
            attacker.substitute, images, self.classes(attacker, labels), attacker.hardware
        )
        return (images + self.step * gradient.sign()).clamp_(0, 1)

    def classes(self, attacker: Attacker, labels: Tensor) -> Tensor:
        """Return the classes whose gradients are followed, int64 `[n]`, for the answered labels `[n]`."""
        return labels


def label_gradient(network: nn.Module, images: Tensor, labels: Tensor, hardware: Hardware) -> Tensor:
    """Return the gradient of each image's logit at its label, in one backward pass for each batch.

    In evaluation mode an image's logits depend on that image alone. The gradient of the sum over a batch
    therefore holds each image's own gradient.

    Args:
        network: The substitute; it is put into evaluation mode.
        images: Float32 in [0, 1], `[n, c, h, w]`.
        labels: Which logit to differentiate, int64 `[n]`.
        hardware: Images at a time.

    Returns:
        Gradients, float32 `[n, c, h, w]`.
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
