"""Active learning by DeepFool (Ducoffe and Precioso 2018; Moosavi-Dezfooli et al. 2016, Algorithm 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from extraction.attacks.base import Attacker, pool_images
from extraction.attacks.selection import PoolSelection
from storage.identity import stable_id
from training.fit import predict_logits


@stable_id("attack/deepfool")
class DeepFool(PoolSelection):
    """Asks about images that the smallest perturbation moves over the substitute's decision boundary.

    Perturbations are found for the `candidates * count` images with the smallest margin between the two
    largest logits; null: for all. `steps` limits the linearisations, `overshoot` is the paper's.
    """

    def __init__(self, candidates: int | None = 3, steps: int = 20, overshoot: float = 0.02) -> None:
        super().__init__()
        if candidates is not None and candidates < 1:
            raise ValueError(f"attack.rule.candidates must be at least 1, or null, not {candidates}")
        if steps < 1:
            raise ValueError(f"attack.rule.steps must be at least 1, not {steps}")
        self.candidates, self.steps, self.overshoot = candidates, steps, overshoot

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """See PoolSelection."""
        assert attacker.substitute is not None
        images = pool_images(attacker, attacker.pool, left)
        few = torch.arange(len(left), device=images.device)
        if self.candidates is not None:
            logits = predict_logits(attacker.substitute, images, attacker.hardware)
            first, second = logits.topk(2, dim=1).values.unbind(1)
            few = (first - second).argsort(stable=True)[: self.candidates * count]
        norms = torch.cat(
            [
                perturbation_norms(attacker.substitute, batch, self.steps, self.overshoot)
                for batch in images[few].split(attacker.hardware.batch_size)
            ]
        )
        return few[norms.argsort(stable=True)[:count]]


def perturbation_norms(network: nn.Module, images: Tensor, steps: int, overshoot: float) -> Tensor:
    """L2 norm of each image's DeepFool perturbation, float32 `[n]`; images `[n, c, h, w]`.

    One backward pass a class serves a whole batch. Images that are over the boundary are done.
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
    """Logits `[n, classes]` and each one's gradient `[classes, n, c, h, w]`."""
    inputs = images.detach().clone().requires_grad_(True)
    logits = network(inputs)
    gradients = [
        torch.autograd.grad(logits[:, k].sum(), inputs, retain_graph=True)[0] for k in range(logits.shape[1])
    ]
    return logits.detach(), torch.stack(gradients)


def _smallest_step(logits: Tensor, gradients: Tensor, original: Tensor) -> Tensor:
    """The step to the nearest boundary of the linearised network, `[n, c, h, w]`."""
    rows = torch.arange(len(logits), device=logits.device)
    difference = gradients - gradients[original, rows]
    norms = difference.flatten(2).norm(dim=2).T
    distance = (logits - logits[rows, original][:, None]).abs() / norms.clamp_min(1e-12)
    distance[rows, original] = torch.inf
    nearest = distance.argmin(1)
    # A little beyond the boundary, as the published code, so that ties do not stop it.
    length = (distance[rows, nearest] + 1e-4) / norms[rows, nearest].clamp_min(1e-12)
    return length[:, None, None, None] * difference[nearest, rows]
