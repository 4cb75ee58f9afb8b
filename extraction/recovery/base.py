"""What a recovery is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from torch import Tensor

from victims.types import Answer

RecoveryName = Literal["none", "denoise", "bayes"]

Imagine = Callable[[Tensor, Tensor, int], Answer]
"""What a service with the victim's defense would answer, as nobody but `knows: [defense]` may know.

Takes images in [0, 1] `[n, c, h, w]`, the probabilities `[n, classes]` that its network would give them,
and how many answers were imagined before. The defense's random choices are not the victim's."""


class Recovery(Protocol):
    """From answers to what the victim's own may have been."""

    def __call__(self, answer: Answer, repeats: int) -> Answer:
        """One answer for each image `[n]`, of the `repeats` answers in a row that it got `[n * repeats]`."""
        ...
