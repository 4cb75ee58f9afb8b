"""The tariff of a gate whose calibration is a potential: what each image owes, and what is asked for it now.

What an account owes follows from its gain, image by image, so a request costs what its images cost one by
one. What it is asked for is coarser, so that a price tells next to nothing of the answer that it is for: each
image's price is a power of two, and follows from what was owed for the images before it. The difference is
carried on, so over time all that is owed is asked for, and no more.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

from pow.calibration.progressive import ProgressiveCalibration
from pow.puzzles.settings import PuzzleSettings


@dataclass(frozen=True, eq=False)
class Standing:
    """What a gate remembers of a payer.

    Attributes:
        queries: Its queries.
        gain: Its gain, in honest queries, less what was forgiven.
        rate: Hashes that an image has owed lately, a running mean.
        debt: Hashes that are owed and were not asked for; below 0 where more was asked for than owed.
        carried: Hashes that rounding, to powers of two and to what a puzzle can ask for, has left.
        at: When it last asked, in seconds since 1970.
        price: Expected hashes of its last request.
        sums: Sums of what its queries revealed, float64 `[d]`.
    """

    queries: float
    gain: float
    rate: float
    debt: float
    carried: float
    at: float
    price: float
    sums: np.ndarray

    def vector(self) -> np.ndarray:
        """The same as float64 numbers, for a ledger."""
        *numbers, sums = astuple(self)
        return np.concatenate([numbers, sums])

    @classmethod
    def of(cls, vector: np.ndarray) -> Standing:
        """The standing that `vector` gave."""
        count = len(fields(cls)) - 1
        numbers = zip((field.name for field in fields(cls)), vector[:count].tolist(), strict=False)
        return cls(**dict(numbers), sums=vector[count:])


@dataclass(frozen=True)
class Tariff:
    """Prices the requests of one payer at a time.

    Args:
        calibration: Says what a gain owes.
        spread: Images over which what one of them owes is asked for; more tell less, and leave more unpaid.
        puzzle: What the work is; what its rounding leaves of a request is carried on. None: it rounds none.
    """

    calibration: ProgressiveCalibration
    spread: int = 32
    puzzle: PuzzleSettings | None = None

    def __post_init__(self) -> None:
        if self.spread < 1:
            raise ValueError(f"spread must be at least 1, not {self.spread!r}")

    def fresh(self, width: int, now: float) -> Standing:
        """The standing of a payer that has not asked yet: an image is taken for an honest one."""
        honest = float(self.calibration.expected_hashes(self.calibration.potential(np.ones(1)))[0])
        return Standing(0, 0.0, honest, 0.0, 0.0, now, 0.0, np.zeros(width))

    def after(self, before: Standing, revealed: np.ndarray, now: float) -> Standing:
        """Return the standing after a request, whose price is `price`.

        Args:
            before: The standing before it.
            revealed: What the images reveal, one after the other, float64 `[n, d]`; see Gains.revealed.
            now: The time, in seconds since 1970.

        Raises:
            ValueError: A value is not finite, or has another width.
        """
        if revealed.shape[1:] != before.sums.shape:
            raise ValueError(f"revealed has shape {revealed.shape[1:]}, not {before.sums.shape}")
        sums = before.sums + np.vstack([np.zeros(before.sums.shape), revealed]).cumsum(0)
        if not np.isfinite(sums).all():
            raise ValueError("what was revealed is not finite, or its total is not")
        counted = self.calibration.total.counted(sums)
        level = self.calibration.recovered(before.gain, max(0.0, now - before.at))
        gains = level + counted - counted[0]
        hashes = self.calibration.expected_hashes(np.diff(self.calibration.potential(gains)))
        standing = replace(
            before,
            queries=before.queries + len(revealed),
            gain=float(gains[-1]),
            at=max(now, before.at),
            price=0.0,
            sums=sums[-1],
        )
        for owed in hashes.tolist():
            standing = self._asked(standing, owed)
        granted = self._granted(standing.price)
        return replace(standing, price=granted, carried=standing.carried + standing.price - granted)

    def _granted(self, hashes: float) -> float:
        """What the puzzle asks for where so many hashes are due."""
        return hashes if self.puzzle is None else float(self.puzzle.expected_hashes(np.array([hashes]))[0])

    def _asked(self, standing: Standing, owed: float) -> Standing:
        """The standing once the next image is asked for, which owes so many hashes."""
        due = max(1.0, standing.rate + standing.debt / self.spread)
        price = 2.0 ** math.floor(math.log2(max(1.0, due + standing.carried)))
        return replace(
            standing,
            rate=standing.rate + (owed - standing.rate) / self.spread,
            debt=standing.debt + owed - due,
            carried=standing.carried + due - price,
            price=standing.price + price,
        )
