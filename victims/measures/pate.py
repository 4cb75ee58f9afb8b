"""PATE cost: teachers on disjoint shards vote, and the Gaussian noisy max of their votes has a price.

Papernot et al. 2018, "Scalable Private Learning with PATE", Propositions 7 and 8 and Theorem 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from privacy import gnmax
from storage.identity import stable_id
from storage.options import check_number
from storage.typed import Count, Natural, Part, Positive
from training.recipe import Recipe
from victims.architectures.build import Architecture
from victims.measures.base import Measure, MeasuredVictim
from victims.teachers import TeacherSettings

IMAGES_EACH, FEWEST, MOST = 32, 2, 50
"""Training images of a teacher, and how many teachers there are, where the config leaves it to the data."""


def teachers_of(images: int) -> int:
    """How many teachers so many training images make: one for 32, from 2 to 50, and no more than images."""
    return min(images, max(FEWEST, min(MOST, images // IMAGES_EACH)))


@stable_id("measure/pate")
class PateCost(Measure):
    """Epsilon of each query alone, from the votes of `teachers` networks and noise of scale `sigma`."""

    label = "PATE"
    teacher_options = ("teachers", "architecture", "recipe", "at_once", "seed")

    def __init__(
        self,
        victim: MeasuredVictim,
        teachers: Count | None,
        sigma: Positive,
        delta: Part,
        architecture: Architecture,
        recipe: Recipe,
        at_once: Count,
        seed: Natural,
    ) -> None:
        count = teachers or teachers_of(len(victim.train))
        settings = TeacherSettings(architecture, recipe, count, at_once, seed)
        self.teachers = victim.teachers(settings)
        self.sigma = sigma
        self.delta = delta

    @classmethod
    def check(cls, option: str, options: Mapping[str, Any], images: int) -> None:
        """See Measure; each teacher has an image of its own at least."""
        if options["teachers"] is not None:
            check_number(f"{option}.teachers", options["teachers"], 1, images, whole=True)

    def columns(self, images: Tensor, log_probs: Tensor) -> dict[str, Tensor]:
        """`cost` and `log_q`, float64 `[n]`."""
        log_q = gnmax.log_q(self.teachers.votes(images), self.sigma)
        return {"cost": gnmax.query_epsilon_from_log_q(log_q, self.sigma, self.delta), "log_q": log_q}
