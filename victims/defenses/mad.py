"""Maximising angular deviation, MAD.

Orekondy et al. 2020, "Prediction Poisoning: Towards Defenses Against DNN Model Stealing Attacks". The
attacker's gradient of a query is G^T y, where row k of G is the gradient of log p_k of a substitute for the
attacker's network. The answer y' turns it as far as it can, within ||y - y'||_1 <= epsilon. As in the
published code, G is that of the last layer's weights. There row k is (e_k - p) h^T, with h the layer's
input, so G^T y is (y - p) h^T: the angle is that between y - p and y' - p, and no gradient has to be
computed.

The paper looks for the extreme of the answers that turns the gradient most, and goes towards it as far as
epsilon allows. With many classes that is not the way that turns it most: near the uniform answer gradients
are short, and their angle says little of the way there. So `compares: answers` tries where each way ends,
and `compares: extremes` does as published.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from storage.identity import stable_id
from storage.typed import Bounds, check_declared
from training.fit import predict_logits
from training.seeds import seeded
from victims.architectures.build import Architecture, build_network
from victims.defenses.base import DefendedVictim, Perturb, Perturbation, kept_label

Label = Literal["kept", "free"]
Compares = Literal["answers", "extremes"]

ENUMERATED = 10
"""With so many classes or fewer, all extremes of the answers that keep the label are tried, as published."""

TRIED = 1024
"""Extremes that are tried for a larger set, class by class, with more classes; the published number."""

UNBOUNDED = 2.0
"""An epsilon that every extreme is within: no two answers differ by more."""

ENTRIES = 2**24
"""Of candidates that are compared at a time."""


@stable_id("defense/mad@2")
class Mad(Perturbation):
    """The answer moves from y towards the extreme that turns the gradient most, as far as `epsilon` allows.

    With the label free, the extremes are the classes. With the label kept, they are the equal shares of sets
    of classes that hold the label; of more than 10 classes, those of `some_sets`, or as published of
    `growing_sets`. The substitute is an untrained network of `architecture`.
    """

    def __init__(
        self,
        epsilon: Annotated[float, Bounds(0, 2)],
        argmax: Label,
        architecture: Architecture,
        compares: Compares = "answers",
    ) -> None:
        self.epsilon, self.argmax, self.architecture, self.compares = epsilon, argmax, architecture, compares
        check_declared(self, "defense.mad")

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation."""
        train = victim.train
        with seeded(victim.seed, "surrogate"):
            substitute = build_network(self.architecture, train.image_shape, train.num_classes, train.images)
        substitute = victim.hardware.place(substitute).eval()

        def perturb(images: Tensor, probabilities: Tensor, first: int) -> Tensor:
            y = probabilities.double()
            p = predict_logits(substitute, images, victim.hardware).double().softmax(1).to(y.device)
            changed = self.turned(y, p).float()
            return kept_label(changed, probabilities) if self.argmax == "kept" and self.epsilon else changed

        return perturb

    def turned(self, y: Tensor, p: Tensor) -> Tensor:
        """The answers that turn the gradient most, `[n, classes]`, for answers y; p is the substitute's."""
        classes = y.shape[1]
        size = max(1, ENTRIES // (max(classes, 2 ** (ENUMERATED - 1)) * classes))
        parts = zip(y.split(size), p.split(size), strict=True)
        return torch.cat([self._turned(own, substitutes) for own, substitutes in parts])

    def _turned(self, y: Tensor, p: Tensor) -> Tensor:
        classes = y.shape[1]
        compared_at = self.epsilon if self.compares == "answers" else UNBOUNDED
        if self.argmax == "kept" and classes <= ENUMERATED:
            order = label_first(y)
            extremes, turned = all_sets(classes, y.device), (y.gather(1, order), p.gather(1, order))
            best = extremes[cosines(*turned, extremes, compared_at).argmin(1)]
            return within(y, torch.empty_like(y).scatter_(1, order, best), self.epsilon)
        if self.argmax == "free":
            extremes = torch.eye(classes, dtype=y.dtype, device=y.device).expand(len(y), -1, -1)
        elif self.compares == "answers":
            extremes = some_sets(y, p, self.epsilon)
        else:
            extremes = growing_sets(y, p, UNBOUNDED)
        chosen = cosines(y, p, extremes, compared_at).argmin(1)
        return within(y, extremes[torch.arange(len(y), device=y.device), chosen], self.epsilon)


def cosines(y: Tensor, p: Tensor, extremes: Tensor, epsilon: float) -> Tensor:
    """Of the angles by which going towards extremes turns the gradients, float64 `[n, m]`.

    Args:
        y: The answers, `[n, classes]`.
        p: What the substitute says.
        extremes: Those of each answer, `[n, m, classes]`, or the same for all, `[m, classes]`.
        epsilon: How far to go, in L1.
    """
    v = y - p

    def products(vectors: Tensor) -> Tensor:
        if extremes.dim() == 2:
            return vectors @ extremes.mT
        return (extremes @ vectors[:, :, None])[:, :, 0]

    # v + share * (extreme - y) is where a way ends, less p; its products follow from those of its parts.
    length = torch.cdist(y[:, None], extremes, p=1)[:, 0]
    share = (epsilon / length.clamp_min(1e-30)).clamp_max(1)
    own, across = v.square().sum(1, keepdim=True), products(v) - (v * y).sum(1, keepdim=True)
    step = extremes.square().sum(-1) - 2 * products(y) + y.square().sum(1, keepdim=True)
    squares = own + 2 * share * across + share.square() * step
    return (own + share * across) / (squares * own).clamp_min(1e-30).sqrt()


def shares(chosen: Tensor) -> Tensor:
    """Sets of classes, bool `[..., classes]`, as the answers that give each of their classes the same."""
    return chosen.double() / chosen.sum(-1, keepdim=True)


def all_sets(classes: int, device: torch.device) -> Tensor:
    """Equal shares of every set that holds the first class: float64 `[2^(classes - 1), classes]`."""
    numbers = torch.arange(2 ** (classes - 1), device=device)
    others = numbers[:, None] >> torch.arange(classes - 1, device=device) & 1 > 0
    return shares(torch.cat([torch.ones_like(others[:, :1]), others], 1))


def label_first(y: Tensor) -> Tensor:
    """The label and then the other classes in their order, int64 `[n, classes]`, for answers y."""
    label = y.argmax(1, keepdim=True)
    others = torch.arange(y.shape[1] - 1, device=y.device).expand(len(y), -1)
    return torch.cat([label, others + (others >= label)], 1)


def some_sets(y: Tensor, p: Tensor, epsilon: float) -> Tensor:
    """Equal shares of sets that hold the label, `[n, m, classes]`, of which one turns the gradient far.

    Of every size that set whose other classes have the least y - p, which is the least inner product with the
    true gradient. And as published, sets that grow from the label by that class which turns the gradient
    most, until `TRIED` extremes were tried.
    """
    return torch.cat([leading_sets(y, p), growing_sets(y, p, epsilon)], 1)


def leading_sets(y: Tensor, p: Tensor) -> Tensor:
    """Equal shares of the label and the m classes of least y - p, m = 0, 1, ...: `[n, classes, classes]`."""
    own = (y - p).scatter(1, y.argmax(1, keepdim=True), -torch.inf)
    rank = own.argsort(dim=1, stable=True).argsort(1)
    size = torch.arange(y.shape[1], device=y.device)
    return shares(rank[:, None, :] <= size[None, :, None])


def growing_sets(y: Tensor, p: Tensor, epsilon: float) -> Tensor:
    """Equal shares of the label and the classes found one after the other, `[n, m, classes]`."""
    classes = y.shape[1]
    chosen = torch.zeros_like(y, dtype=torch.bool).scatter(1, y.argmax(1, keepdim=True), True)
    single = torch.eye(classes, dtype=torch.bool, device=y.device)
    found: list[Tensor] = []
    while sum(classes - size for size in range(1, len(found) + 1)) < TRIED and len(found) < classes - 1:
        turned = cosines(y, p, shares(chosen[:, None] | single), epsilon)
        next_class = turned.masked_fill(chosen, torch.inf).argmin(1, keepdim=True)
        chosen = chosen.scatter(1, next_class, True)
        found.append(shares(chosen))
    return torch.stack(found, 1)


def within(y: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """The farthest point on the way from `y` to `target` `[..., classes]` within `epsilon` in L1."""
    step = target - y
    length = step.abs().sum(-1, keepdim=True)
    return y + step * (epsilon / length.clamp_min(1e-30)).clamp_max(1)
