"""pkNN cost: the nearest training points in the victim's log-softmax space vote with their true labels.

The k-nearest-neighbour variant of PATE (Zhu et al. 2020) as the proof-of-work paper uses it, priced by
the same analysis of the Gaussian noisy max.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from privacy import gnmax, pknn
from storage.identity import stable_id
from storage.options import check_number
from storage.typed import Count, Part, Positive
from training.fit import predict_logits
from victims.measures.base import Measure, MeasuredVictim

SHARE, MOST = 20, 50
"""One of so many training images votes, and so many do at most, where the config leaves it to the data."""


def neighbours_of(images: int) -> int:
    """How many of so many training images vote: one in 20, from 1 to 50."""
    return max(1, min(MOST, images // SHARE))


@stable_id("measure/pknn")
class PknnCost(Measure):
    """Epsilon of each query alone, from the votes of its `k` nearest training points."""

    label = "pkNN"
    paired = "composed"

    def __init__(self, victim: MeasuredVictim, k: Count | None, sigma: Positive, delta: Part) -> None:
        logits = predict_logits(victim.network, victim.train.images, victim.hardware)
        self.train_log_probs = logits.log_softmax(1)
        self.train_labels = victim.train.labels.to(logits.device)
        self.num_classes = victim.train.num_classes
        self.k = k or neighbours_of(len(victim.train))
        self.sigma, self.delta = sigma, delta

    @classmethod
    def check(cls, option: str, options: Mapping[str, Any], images: int) -> None:
        """See Measure; there are as many neighbours as training images."""
        if options["k"] is not None:
            check_number(f"{option}.k", options["k"], 1, images, whole=True)

    def columns(self, images: Tensor, log_probs: Tensor) -> dict[str, Tensor]:
        """`cost` and `log_q`, float64 `[n]`."""
        votes = pknn.neighbour_votes(
            self.train_log_probs, self.train_labels, log_probs, self.k, self.num_classes
        )
        log_q = gnmax.log_q(votes, self.sigma)
        return {"cost": gnmax.query_epsilon_from_log_q(log_q, self.sigma, self.delta), "log_q": log_q}
