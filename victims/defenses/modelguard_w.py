"""ModelGuard-W.

Tang et al. 2024, "ModelGuard: Information-Theoretic Defense Against Model Extraction Attacks". As in the
authors' published code, the answer y' to probabilities y solves the linear program

    maximise    -sum_k y'_k log(y_k + 1e-6)
    subject to  y' in the simplex,  ||y' - y||_1 <= epsilon,  y'_label >= y'_k for all k,  label = argmax y

but for their margin of 1e-4 in the label's lead, which is an ulp here. It is solved exactly, for all
samples at once. With t = y'_label fixed, every other entry lies in [0, t] and the best answer is water-
filling: mass of at most epsilon / 2 is taken from what exceeds t and then from the largest other entries,
and fills the smallest ones up to t. The optimum is concave in t, so the best t is found by ternary
search.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from storage.identity import stable_id
from storage.typed import Bounds, check_declared
from victims.defenses.base import DefendedVictim, Perturb, Perturbation, kept_label

SMALLEST = 1e-6
"""Added to probabilities before their logarithm, as by the authors."""

STEPS = 90
"""Of a search that keeps two thirds of its interval each time: 1.4e-16 of it are left."""


@stable_id("defense/modelguard_w")
class ModelGuardW(Perturbation):
    """The least likely classes get as much as `epsilon` and the label's lead allow (see above)."""

    def __init__(self, epsilon: Annotated[float, Bounds(0, 2)]) -> None:
        self.epsilon = epsilon
        check_declared(self, "defense.modelguard_w")

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation."""
        return self._perturb

    def _perturb(self, images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        if self.epsilon == 0:
            return probabilities
        total = probabilities.double().sum(1, keepdim=True)
        changed = most_surprising(probabilities.double() / total, self.epsilon)
        return kept_label(changed.float(), probabilities)


def most_surprising(y: Tensor, epsilon: float) -> Tensor:
    """The solution of the linear program for probabilities float64 `[n, classes]` (see above)."""
    order = y.scatter(1, y.argmax(1, keepdim=True), torch.inf).argsort(dim=1, stable=True)  # the label last
    ascending = y.gather(1, order)
    worth = -(ascending + SMALLEST).log()
    high = (ascending[:, -1:] + epsilon / 2).clamp_max(1)
    low = _least_top(ascending, epsilon / 2)
    for _ in range(STEPS):
        left, right = (2 * low + high) / 3, (low + 2 * high) / 3
        better = _value(ascending, left, epsilon, worth) >= _value(ascending, right, epsilon, worth)
        low, high = torch.where(better, low, left), torch.where(better, right, high)
    filled = _filled(ascending, (low + high) / 2, epsilon / 2)
    return torch.empty_like(y).scatter_(1, order, filled)


def _value(ascending: Tensor, top: Tensor, epsilon: float, worth: Tensor) -> Tensor:
    return (_filled(ascending, top, epsilon / 2) * worth).sum(1, keepdim=True)


def _least_top(ascending: Tensor, moved: float) -> Tensor:
    """The lowest t `[n, 1]` to which all entries can be cut by taking away `moved`: 1 / classes at least.

    Cut to the level of the m-th largest entry's equals, the m largest keep (their sum - moved) / m each.
    """
    descending = ascending.flip(1)
    counts = torch.arange(1, ascending.shape[1] + 1, device=ascending.device)
    levels = (descending.cumsum(1) - moved) / counts
    return levels.amax(1, keepdim=True).clamp_min(1 / ascending.shape[1])


def _filled(ascending: Tensor, top: Tensor, moved: float) -> Tensor:
    """The best answer whose largest entry, the last, is `top` `[n, 1]`, with mass `moved` shifted at most.

    For entries `[n, classes]` in ascending order.
    """
    limit = _fullest(ascending, top)
    total = (limit - ascending).clamp_min(0).sum(1, keepdim=True).clamp_max(moved)
    start = torch.cat([torch.minimum(ascending[:, :-1], top), top], 1)
    to_fill = (total - (start - ascending).clamp_min(0).sum(1, keepdim=True)).clamp_min(0)
    to_take = (total - (ascending - start).clamp_min(0).sum(1, keepdim=True)).clamp_min(0)
    room, stock = top - start[:, :-1], start[:, :-1]
    filling = torch.minimum((to_fill - (room.cumsum(1) - room)).clamp_min(0), room)
    above = stock.flip(1).cumsum(1).flip(1) - stock
    taking = torch.minimum((to_take - above).clamp_min(0), stock)
    return torch.cat([(stock + filling - taking).clamp_min(0), top], 1)


def _fullest(ascending: Tensor, top: Tensor) -> Tensor:
    """What unlimited filling ends in: `top` in the smallest entries and in the largest, 0 between them."""
    places = torch.arange(ascending.shape[1], device=ascending.device)
    mass = ascending.sum(1, keepdim=True) - top
    filled = torch.minimum((mass - places * top).clamp_min(0), top)
    filled[:, -1:] = top
    return filled
