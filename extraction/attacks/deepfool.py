"""Active learning by DeepFool (Ducoffe and Precioso 2018; Moosavi-Dezfooli et al. 2016, Algorithm 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from extraction.attacks.base import Attacker, pool_images
from extraction.attacks.selection import PoolSelection
from storage.identity import stable_id
from storage.typed import Count, NonNegative, check_declared
from training.fit import predict_logits


@stable_id("attack/deepfool")
class DeepFool(PoolSelection):
    """Asks about the images that lie nearest to the substitute's decision boundary.

    The distance is the norm of the smallest perturbation that DeepFool finds.

    Args:
        candidates: Perturbations are computed for the `candidates * count` images with the smallest margin
            between the two largest logits; null: for all images.
        steps: Linearisations at most.
        overshoot: How far beyond the boundary a step goes, as a share of it (the paper's eta).

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self, candidates: Count | None = 3, steps: Count = 20, overshoot: NonNegative = 0.02
    ) -> None:
        super().__init__()
        self.candidates, self.steps, self.overshoot = candidates, steps, overshoot
        check_declared(self, "attack.rule")

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """Choose the `count` images with the smallest perturbation."""
        assert attacker.substitute is not None
        images = pool_images(attacker, attacker.pool, left)
        candidates = torch.arange(len(left), device=images.device)
        if self.candidates is not None:
            logits = predict_logits(attacker.substitute, images, attacker.hardware)
            first, second = logits.topk(2, dim=1).values.unbind(1)
            candidates = (first - second).argsort(stable=True)[: self.candidates * count]
        norms = torch.cat(
            [
                perturbation_norms(attacker.substitute, batch, self.steps, self.overshoot)
                for batch in images[candidates].split(attacker.hardware.batch_size)
            ]
        )
        return candidates[norms.argsort(stable=True)[:count]]


def perturbation_norms(network: nn.Module, images: Tensor, steps: int, overshoot: float) -> Tensor:
    """Return the L2 norm of each image's DeepFool perturbation (Moosavi-Dezfooli et al. 2016, Algorithm 2).

    A whole batch shares one backward pass for each class. Images that are over the boundary move no more.

    Args:
        network: The network whose decision boundary is looked for; it is put into evaluation mode.
        images: Float32 in [0, 1], `[n, c, h, w]`.
        steps: Linearisations at most.
        overshoot: How far beyond the boundary a step goes, as a share of it.

    Returns:
        Norms, float32 `[n]`.
    """
    network.eval()
    total = torch.zeros_like(images)
    original = network(images).argmax(1)
    active = torch.arange(len(images), device=images.device)
    for _ in range(steps):
        moved = images[active] + (1 + overshoot) * total[active]
        logits, gradients = logits_and_gradients(network, moved)
        still = logits.argmax(1) == original[active]
        active, logits, gradients = active[still], logits[still], gradients[:, still]
        if not len(active):
            break
        total[active] += _smallest_step(logits, gradients, original[active])
    return total.flatten(1).norm(dim=1)


def logits_and_gradients(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits `[n, classes]` of images, and the gradient of each logit `[classes, n, c, h, w]`."""
    inputs = images.detach().clone().requires_grad_(True)
    logits = network(inputs)
    gradients = [
        torch.autograd.grad(logits[:, k].sum(), inputs, retain_graph=True)[0] for k in range(logits.shape[1])
    ]
    return logits.detach(), torch.stack(gradients)


def _smallest_step(logits: Tensor, gradients: Tensor, original: Tensor) -> Tensor:
    """Return the step to the nearest boundary of the linearised network, `[n, c, h, w]`."""
    rows = torch.arange(len(logits), device=logits.device)
    difference = gradients - gradients[original, rows]
    norms = difference.flatten(2).norm(dim=2).T
    distance = (logits - logits[rows, original][:, None]).abs() / norms.clamp_min(1e-12)
    distance[rows, original] = torch.inf
    nearest = distance.argmin(1)
    # The published code adds 1e-4, so that an image on the boundary itself still moves.
    length = (distance[rows, nearest] + 1e-4) / norms[rows, nearest].clamp_min(1e-12)
    return length[:, None, None, None] * difference[nearest, rows]
