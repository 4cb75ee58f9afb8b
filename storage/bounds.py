"""Between which values an option may lie: said once, in the type of the argument that it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

MOST_WHOLE = 2**53
"""Beyond it a whole number is no longer one in JSON, and no tensor has so many entries."""

MOST = 1e30
"""Beyond it products of options are no longer numbers."""


@dataclass(frozen=True)
class Bounds:
    """A finite number from `low` to `high`; `above` and `below` leave out the end itself.

    Without bounds at all infinity may be one, too (`finite=False`).
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    finite: bool = True

    def hold(self, value: float) -> bool:
        """Whether a number lies between them."""
        if self.finite and not math.isfinite(value):
            return False
        over = self.low < value if self.above else self.low <= value
        under = value < self.high if self.below else value <= self.high
        return over and under

    def __str__(self) -> str:
        """In words, to come after those for the type."""
        if math.isfinite(self.low) and math.isfinite(self.high) and not (self.above or self.below):
            return f" between {self.low:.15g} and {self.high:.15g}"
        low = "" if math.isinf(self.low) else f"{'above' if self.above else 'of at least'} {self.low:g}"
        high = "" if math.isinf(self.high) else f"{'below' if self.below else 'at most'} {self.high:g}"
        return " " + " and ".join(part for part in (low, high) if part)


Finite = Annotated[float, Bounds()]
Count = Annotated[int, Bounds(1)]
Natural = Annotated[int, Bounds(0)]
Positive = Annotated[float, Bounds(0, above=True)]
NonNegative = Annotated[float, Bounds(0)]
Share = Annotated[float, Bounds(0, 1)]
AboveNone = Annotated[float, Bounds(0, 1, above=True)]
BelowOne = Annotated[float, Bounds(0, 1, below=True)]
Part = Annotated[float, Bounds(0, 1, above=True, below=True)]
"""A share that is neither nothing nor all."""
