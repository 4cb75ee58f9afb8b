"""Gradient redirection, GRAD^2.

Mazeika, Li, Forsyth 2022, "How to Steer Your Adversary: Targeted and Efficient Model Stealing Defenses with
Gradient Redirection". The attacker's gradient of a query is G^T y', where row k of G is the gradient of
log p_k of a surrogate for the attacker's network, which has learned from the victim's answers. The answer y'
to probabilities y solves the linear program

    maximise    <G^T y', z>,  z = -G^T y
    subject to  y' in the simplex,  ||y' - y||_1 <= epsilon

whose solution needs one sort (Algorithm 1): half of epsilon, or what is missing to 1, goes to the class of
the largest (G z)_k, and is taken from the classes of the smallest ones. G z is a derivative of log p along z,
so no row of G is ever computed.

In the authors' code z is the sum over a batch; here it is that of the query itself, so that an answer does
not depend on what is asked beside it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from storage.identity import stable_id
from storage.typed import Bounds, Natural, check_declared
from training.batches import to_float
from training.fit import fit, predict_logits
from training.recipe import Hardware, Recipe
from training.seeds import derive_seed, seeded
from victims.architectures.build import Architecture, build_network
from victims.datasets.images import ImageSet
from victims.defenses.base import AuxiliarySettings, DefendedVictim, Perturb, Perturbation

Layers = Literal["all", "last"]

NUMBERS = 2**24
"""Of gradients that are held at a time."""


@stable_id("surrogate")
@dataclass(frozen=True)
class SurrogateSettings(AuxiliarySettings):
    """A network that learns from the victim's answers: what it is, how it is trained, and from which seed."""

    architecture: Architecture
    recipe: Recipe
    seed: Natural

    def untrained(self, victim: nn.Module, train: ImageSet) -> nn.Module:
        """See AuxiliarySettings."""
        with seeded(self.seed, "surrogate"):
            return build_network(self.architecture, train.image_shape, train.num_classes, train.images)

    def fit(
        self, network: nn.Module, victim: nn.Module, train: ImageSet, hardware: Hardware
    ) -> dict[str, float]:
        """See AuxiliarySettings; tells how often it agrees with the victim on the images learned from."""
        answers = predict_logits(victim, train.images, hardware).softmax(1)
        seed = derive_seed(self.seed, "surrogate training")
        fit(network, train.images, answers, self.recipe, hardware, seed)
        own = predict_logits(network, train.images, hardware).argmax(1)
        return {"train_agreement": float((own == answers.argmax(1)).double().mean())}


@stable_id("defense/grad_redirect")
class GradRedirect(Perturbation):
    """The answer within `epsilon` in L1 whose gradient points farthest against the true one (see above).

    Args:
        epsilon: How far answers may be moved, in L1.
        layers: Whose gradients are meant: those of `all` weights, as in the paper, or of the `last` layer's.
        surrogate: The network whose gradients are meant.

    Raises:
        ValueError: An option is out of range.
    """

    trains = "surrogate"
    trains_by_asking = True

    def __init__(
        self, epsilon: Annotated[float, Bounds(0, 2)], layers: Layers, surrogate: SurrogateSettings
    ) -> None:
        self.epsilon, self.layers, self.surrogate = epsilon, layers, surrogate
        check_declared(self, "defense.grad_redirect")

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation; trains the surrogate, if the store lacks it."""
        surrogate = victim.trained(self.surrogate)

        def perturb(images: Tensor, probabilities: Tensor, first: int) -> Tensor:
            y = probabilities.double()
            if self.layers == "last":
                p = predict_logits(surrogate, images, victim.hardware).double().softmax(1)
                worth = p.to(y.device) - y  # G z, but for what no order depends on
            else:
                worth = slopes(surrogate, to_float(images.to(victim.hardware.device)), probabilities)
            return redirected(y, worth.to(y.device).double(), self.epsilon).float()

        return perturb


def slopes(network: nn.Module, images: Tensor, probabilities: Tensor) -> Tensor:
    """G z of each image, `[n, classes]`: how log p_k rises along z = -G^T y, over all weights of the network.

    Args:
        network: In evaluation mode.
        images: In [0, 1], `[n, c, h, w]`.
        probabilities: y, `[n, classes]`.
    """
    weights = {name: it.detach() for name, it in network.named_parameters()}
    buffers = dict(network.named_buffers())

    def log_probs(own: dict[str, Tensor], image: Tensor) -> Tensor:
        logits: Tensor = functional_call(network, (own, buffers), (image[None],))
        return logits[0].log_softmax(0)

    def slope(image: Tensor, y: Tensor) -> Tensor:
        uphill = grad(lambda own: -(y * log_probs(own, image)).sum())(weights)
        along: Tensor = jvp(lambda own: log_probs(own, image), (weights,), (uphill,))[1]
        return along

    size = max(1, NUMBERS // sum(it.numel() for it in weights.values()))
    with torch.no_grad(), warnings.catch_warnings():
        # torch's own forward derivatives are scripted, which torch itself calls deprecated.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated.*")
        parts = zip(images.split(size), probabilities.to(images).split(size), strict=True)
        return torch.cat([vmap(slope)(*part) for part in parts])


def redirected(y: Tensor, worth: Tensor, epsilon: float) -> Tensor:
    """The answers of most worth within epsilon: `[n, classes]`, for answers y and the worth of each class."""
    best = worth.argmax(1, keepdim=True)
    moved = (1 - y.gather(1, best)).clamp(0, epsilon / 2)
    order = worth.scatter(1, best, torch.inf).argsort(1)[:, :-1]  # from the least worth on, without the best
    ascending = y.gather(1, order)
    before = ascending.cumsum(1) - ascending
    taken = (moved - before).clamp_min(0).minimum(ascending)
    changed = y.scatter(1, order, ascending - taken)
    return changed.scatter_add(1, best, taken.sum(1, keepdim=True))
