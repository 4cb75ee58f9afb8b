"""Adaptive misinformation.

Kariyappa and Qureshi 2020, "Defending Against Model Stealing Attacks with Adaptive Misinformation".
"""

from __future__ import annotations

from torch import Tensor

from storage.identity import stable_id
from storage.typed import Positive, Share, check_declared
from training.fit import predict_logits
from victims.defenses.base import DefendedVictim, MisinformerSettings, Perturb, Perturbation


@stable_id("defense/adaptive_misinformation")
class AdaptiveMisinformation(Perturbation):
    """y' = (1 - alpha) * f(x) + alpha * g(x), with alpha = sigmoid(-steepness * (max f(x) - threshold)).

    Images of which the victim f is unsure are taken to be foreign (Hendrycks and Gimpel 2017) and answered by
    g, a network of its own that was trained to be wrong. The paper's victim is moreover
    trained to be unsure of foreign images; this one is taken as it is.
    """

    trains = "misinformer"

    def __init__(self, threshold: Share, steepness: Positive, misinformer: MisinformerSettings) -> None:
        self.threshold, self.steepness, self.misinformer = threshold, steepness, misinformer
        check_declared(self, "defense.adaptive_misinformation")

    def bind(self, victim: DefendedVictim) -> Perturb:
        """See Perturbation; trains the network that misinforms, if the store lacks it."""
        network = victim.trained(self.misinformer)

        def perturb(images: Tensor, probabilities: Tensor, first: int) -> Tensor:
            y = probabilities.double()
            wrong = predict_logits(network, images, victim.hardware).double().softmax(1).to(y.device)
            unsure = (self.steepness * (self.threshold - y.amax(1, keepdim=True))).sigmoid()
            return ((1 - unsure) * y + unsure * wrong).float()

        return perturb
