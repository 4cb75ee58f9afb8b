"""Maximising angular deviation, MAD.

Orekondy et al. 2020, "Prediction Poisoning: Towards Defenses Against DNN Model Stealing Attacks". The
attacker's gradient of a query is G^T y, where row k of G is the gradient of log p_k of a substitute for the
attacker's network. The answer y' turns it as far as it can, within ||y - y'||_1 <= epsilon. As in the
published code, G is that of the last layer's weights. There row k is (e_k - p) h^T, with h the layer's
input, so the inner products G G^T are those of the vectors e_k - p, times |h|^2, which no angle needs: no
gradient has to be computed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from storage.identity import stable_id
from storage.options import check_between, check_choice
from training.fit import predict_logits
from training.seeds import seeded
from victims.architectures.build import Architecture, build_network
from victims.defenses.base import DefendedVictim, Perturb, Perturbation, kept_label

Label = Literal["kept", "free"]

ENUMERATED = 10
"""With so many classes or fewer, all extremes of the answers that keep the label are tried."""

ENTRIES = 2**24
"""Of candidates that are compared at a time."""


@stable_id("defense/mad")
class Mad(Perturbation):
    """The answer moves from y towards the extreme that turns the gradient most, as far as `epsilon` allows.

    With the label free, the extremes are the classes. With the label kept, they are the equal shares of sets
    of classes that hold the label; of more than 10 classes, of every size that set whose other classes have
    the least inner product with the true gradient. The substitute is an untrained network of `architecture`.
    """

    def __init__(self, epsilon: float, argmax: Label, architecture: Architecture) -> None:
        check_between("defense.mad.epsilon", epsilon, 0, 2)
        check_choice("defense.mad.argmax", argmax, Label)
        self.epsilon, self.argmax, self.architecture = epsilon, argmax, architecture

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation."""
        train = victim.train
        with seeded(victim.seed, "surrogate"):
            substitute = build_network(self.architecture, train.image_shape, train.num_classes, train.images)
        substitute = victim.hardware.place(substitute).eval()

        def perturb(images: Tensor, probabilities: Tensor, first: int) -> Tensor:
            y = probabilities.double()
            p = predict_logits(substitute, images, victim.hardware).double().softmax(1).to(y.device)
            changed = within(y, self.extreme(y, p), self.epsilon).float()
            return kept_label(changed, probabilities) if self.argmax == "kept" and self.epsilon else changed

        return perturb

    def extreme(self, y: Tensor, p: Tensor) -> Tensor:
        """The extreme that turns the gradient most, `[n, classes]`; p is what the substitute says."""
        classes = y.shape[1]
        size = max(1, ENTRIES // (max(classes, 2**ENUMERATED) * classes))
        parts = zip(y.split(size), p.split(size), strict=True)
        return torch.cat([self._extreme(own, gram(substitutes)) for own, substitutes in parts])

    def _extreme(self, y: Tensor, products: Tensor) -> Tensor:
        classes = y.shape[1]
        if self.argmax == "free":
            extremes = torch.eye(classes, dtype=y.dtype, device=y.device)
            return extremes[most_turned(y, products, extremes)]
        if classes <= ENUMERATED:
            order = label_first(y)
            rows = products.gather(1, order[:, :, None].expand_as(products))
            ordered = rows.gather(2, order[:, None, :].expand_as(products))
            extremes = all_sets(classes, y.device)
            best = extremes[most_turned(y.gather(1, order), ordered, extremes)]
            return torch.empty_like(y).scatter_(1, order, best)
        candidates = leading_sets(y, products)
        inner = torch.einsum("nk,nkj,ncj->nc", y, products, candidates)
        squares = torch.einsum("nck,nkj,ncj->nc", candidates, products, candidates)
        best = least_cosine(inner, squares)
        return candidates[torch.arange(len(y), device=y.device), best]


def most_turned(y: Tensor, products: Tensor, extremes: Tensor) -> Tensor:
    """Which of the `extremes` `[m, classes]` turns the gradient of each answer most, int64 `[n]`.

    All of them at once: their squared lengths are linear in the inner products `[n, classes, classes]`.
    """
    inner = torch.einsum("nk,nkj->nj", y, products) @ extremes.mT
    pairs = (extremes[:, :, None] * extremes[:, None, :]).flatten(1)
    return least_cosine(inner, products.flatten(1) @ pairs.mT)


def least_cosine(inner: Tensor, squares: Tensor) -> Tensor:
    """Which candidate has the least cosine, int64 `[n]`: inner products and squared lengths `[n, m]`."""
    return (inner / squares.clamp_min(1e-30).sqrt()).argmin(1)


def gram(p: Tensor) -> Tensor:
    """Inner products of the vectors e_k - p, `[n, classes, classes]`, for probabilities p `[n, classes]`."""
    rows = torch.eye(p.shape[1], dtype=p.dtype, device=p.device) - p[:, None, :]
    return rows @ rows.mT


def label_first(y: Tensor) -> Tensor:
    """The label and then the other classes in their order, int64 `[n, classes]`, for answers y."""
    label = y.argmax(1, keepdim=True)
    others = torch.arange(y.shape[1] - 1, device=y.device).expand(len(y), -1)
    return torch.cat([label, others + (others >= label)], 1)


def all_sets(classes: int, device: torch.device) -> Tensor:
    """Equal shares of every set that holds the first class: float64 `[2^(classes - 1), classes]`."""
    numbers = torch.arange(2 ** (classes - 1), device=device)
    others = (numbers[:, None] >> torch.arange(classes - 1, device=device) & 1).double()
    chosen = torch.cat([torch.ones_like(others[:, :1]), others], 1)
    return chosen / chosen.sum(1, keepdim=True)


def leading_sets(y: Tensor, products: Tensor) -> Tensor:
    """Equal shares of the label and the m classes of least inner product with G^T y, m = 0, 1, ...

    `[n, classes, classes]`.
    """
    own = torch.einsum("nk,nkj->nj", y, products).scatter(1, y.argmax(1, keepdim=True), -torch.inf)
    rank = own.argsort(dim=1, stable=True).argsort(1)
    size = torch.arange(y.shape[1], device=y.device)
    chosen = (rank[:, None, :] <= size[None, :, None]).to(y.dtype)
    return chosen / chosen.sum(2, keepdim=True)


def within(y: Tensor, target: Tensor, epsilon: float) -> Tensor:
    """The farthest point on the way from `y` to `target` `[n, classes]` within `epsilon` in L1."""
    step = target - y
    length = step.abs().sum(1, keepdim=True)
    return y + step * (epsilon / length.clamp_min(1e-30)).clamp_max(1)
