"""The tariff of a gate: what a payer owes for a request, and what is asked for it now.

What is asked for is coarser than what is owed, a power of two, so that a price tells little of the answer
that it is for. The difference is carried on, so over time all that is owed is asked for, and no more.

A request that is not paid for settles nothing but itself: what it asks for beyond what its own images owe, of
earlier ones, stays owed until its answer is redeemed. So nobody sheds a debt by asking and leaving.

Where the calibration is a potential, what an account owes follows from its gain, image by image, so a request
costs what its images cost one by one. Each image's price follows from what was owed for the images before it,
so it tells next to nothing of its own answer. Where it is a line, a request owes what it owes as a whole, and
its price tells where the account's cost has come, up to a power of two.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from pow.calibration.base import Calibration
from pow.calibration.progressive import ProgressiveCalibration
from pow.puzzles.settings import PuzzleSettings


@dataclass(frozen=True, eq=False)
class Standing:
    """What a gate remembers of a payer.

    Attributes:
        queries: Its queries.
        gain: Its gain, in honest queries, less what was forgiven; under a line, its privacy cost.
        rate: Hashes that an image has owed lately, a running mean; under a line, 0.
        debt: Hashes that are owed and were not asked for; below 0 where more was asked for than owed; under a
            line, 0.
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
        numbers = [getattr(self, field.name) for field in fields(self)[:-1]]
        return np.concatenate([numbers, self.sums])

    @classmethod
    def of(cls, vector: np.ndarray) -> Standing:
        """The standing that `vector` gave."""
        count = len(fields(cls)) - 1
        numbers = zip((field.name for field in fields(cls)), vector[:count].tolist(), strict=False)
        return cls(**dict(numbers), sums=vector[count:])


def unpaid(before: Standing, after: Standing) -> Standing:
    """What to keep of the standing after a request until it is paid for: neither debt has fallen yet."""
    return replace(after, debt=max(before.debt, after.debt), carried=max(before.carried, after.carried))


def settled(kept: Standing, after: Standing) -> np.ndarray:
    """What its payment adds to the numbers that were kept, but for the sums: float64 `[k]`."""
    return (after.vector() - kept.vector())[: len(fields(Standing)) - 1]


class Tariff(ABC):
    """Prices the requests of one payer at a time."""

    @abstractmethod
    def fresh(self, width: int, now: float) -> Standing:
        """The standing of a payer that has not asked yet; what is revealed has `width` values."""

    @abstractmethod
    def after(self, before: Standing, revealed: np.ndarray, now: float) -> Standing:
        """Return the standing after a request that is paid for, whose price is `price`.

        Args:
            before: The standing before it.
            revealed: What the images reveal, one after the other, float64 `[n, d]`.
            now: The time, in seconds since 1970.

        Raises:
            ValueError: A value is not finite, or has another width.
        """


def tariff_of(
    calibration: Calibration, puzzle: PuzzleSettings, spread: int, cost: Callable[[np.ndarray], float]
) -> Tariff:
    """The tariff of any calibration; `cost` turns a sum `[d]` of what is revealed into a privacy cost."""
    if isinstance(calibration, ProgressiveCalibration):
        return ProgressiveTariff(calibration, spread, puzzle)
    return LineTariff(calibration, cost, puzzle)


@dataclass(frozen=True)
class LineTariff(Tariff):
    """Prices requests by where they bring the payer's privacy cost.

    Args:
        calibration: Says what a request owes.
        cost: Turns a sum `[d]` of what is revealed into a privacy cost.
        puzzle: What the work is; what its rounding leaves of a request is carried on. None: it rounds none.
    """

    calibration: Calibration
    cost: Callable[[np.ndarray], float]
    puzzle: PuzzleSettings | None = None

    def fresh(self, width: int, now: float) -> Standing:
        """See Tariff."""
        return Standing(0, 0.0, 0.0, 0.0, 0.0, now, 0.0, np.zeros(width))

    def after(self, before: Standing, revealed: np.ndarray, now: float) -> Standing:
        """See Tariff."""
        sums = _sums(before, revealed)[-1]
        queries, cost = before.queries + len(revealed), float(self.cost(sums))
        # A line charges a request by where it ends, so what was before it does not matter.
        after = np.array([cost])
        seconds = self.calibration.charged(after, after, np.array([queries]), np.array([True]))
        due = float(self.calibration.expected_hashes(seconds)[0]) + before.carried
        price = granted(self.puzzle, power_of_two(due))
        return replace(
            before,
            queries=queries,
            gain=cost,
            carried=due - price,
            at=max(now, before.at),
            price=price,
            sums=sums,
        )


def power_of_two(hashes: float) -> float:
    """The largest power of two that is at most so many hashes, and at least 1."""
    return 2.0 ** math.floor(math.log2(max(1.0, hashes)))


def granted(puzzle: PuzzleSettings | None, hashes: float) -> float:
    """What a puzzle asks for where so many hashes are due."""
    return hashes if puzzle is None else float(puzzle.expected_hashes(np.array([hashes]))[0])


def _sums(before: Standing, revealed: np.ndarray) -> np.ndarray:
    """The payer's sums `[n + 1, d]` before a request and after each of its images; raises ValueError."""
    if revealed.shape[1:] != before.sums.shape:
        raise ValueError(f"revealed has shape {revealed.shape[1:]}, not {before.sums.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        sums = before.sums + np.vstack([np.zeros(before.sums.shape), revealed]).cumsum(0)
    if not np.isfinite(sums).all():
        raise ValueError("what was revealed is not finite, or its total is not")
    return sums


@dataclass(frozen=True)
class ProgressiveTariff(Tariff):
    """Prices requests image by image, by what each adds to the payer's gain.

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
        """See Tariff: an image is taken for an honest one."""
        honest = float(self.calibration.expected_hashes(self.calibration.potential(np.ones(1)))[0])
        return Standing(0, 0.0, honest, 0.0, 0.0, now, 0.0, np.zeros(width))

    def after(self, before: Standing, revealed: np.ndarray, now: float) -> Standing:
        """See Tariff; `revealed` is as Gains.revealed gives it."""
        sums = _sums(before, revealed)
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
        asked = granted(self.puzzle, standing.price)
        return replace(standing, price=asked, carried=standing.carried + standing.price - asked)

    def _asked(self, standing: Standing, owed: float) -> Standing:
        """The standing once the next image is asked for, which owes so many hashes."""
        due = max(1.0, standing.rate + standing.debt / self.spread)
        price = power_of_two(due + standing.carried)
        return replace(
            standing,
            rate=standing.rate + (owed - standing.rate) / self.spread,
            debt=standing.debt + owed - due,
            carried=standing.carried + due - price,
            price=standing.price + price,
        )
