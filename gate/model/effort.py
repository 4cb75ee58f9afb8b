"""Under load the work that is asked for rises for everyone, so that those who can wait make room.

As Tor's onion services do (proposal 327): each who asks pays for what others ask at the same time. It is
asked on top of what an answer reveals, and nobody's standing remembers it.
"""

from __future__ import annotations

import math

MOST = 64.0
"""Most that the work is multiplied by."""


class Effort:
    """What work is multiplied by: a power of two that follows the share of time that the model is busy.

    Args:
        target: Share of time, above 0 and at most 1, above which the work rises; None: it never does. Below
            half of it the work falls again.

    Raises:
        ValueError: The target is not valid.
    """

    def __init__(self, target: float | None) -> None:
        if target is not None and not 0 < target <= 1:
            raise ValueError(f"load_target must be above 0 and at most 1, or null, not {target!r}")
        self.target, self.factor = target, 1.0

    def follow(self, load: float) -> None:
        """Take note of the share of time that the model was busy lately."""
        target = math.inf if self.target is None else self.target
        if load > target:
            self.factor = min(MOST, 2 * self.factor)
        elif load < target / 2:
            self.factor = max(1.0, self.factor / 2)
