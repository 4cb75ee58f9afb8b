"""The interface of a recovery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from torch import Tensor

from victims.types import Answer

RecoveryName = Literal["none", "denoise", "bayes", "ddae"]

Imagine = Callable[[Tensor, Tensor, int], Answer]
"""Returns what a service with the victim's defense would answer.

It takes images in [0, 1] `[n, c, h, w]`, the probabilities `[n, classes]` that the service's network would
give them, and how many answers were imagined before. Random choices of the defense are drawn from another
stream than the victim's. Only an attack with `knows: [defense]` may call it."""


class Recovery(Protocol):
    """Estimates the victim's own answers from answers that a defense has changed."""

    def __call__(self, answer: Answer, repeats: int) -> Answer:
        """Recover one answer for each image.

        Args:
            answer: `n * repeats` answers; those to one image stand in a row.
            repeats: Answers to each image.

        Returns:
            `n` answers.
        """
        ...
