"""A puzzle asks for nonces whose digests are small enough."""

from __future__ import annotations

import hashlib
import math
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from numbers import Real
from typing import Any, ClassVar

import numpy as np

KINDS: dict[str, type[Puzzle]] = {}
"""Every kind of puzzle by the name that the config and the wire give it; a class enters by being defined."""

NONCES = 2**64
"""Nonces are whole numbers from 0 up to, but not including, this one."""

MOST_PARTS = 4096
HARDEST_PART = 2.0**56
"""Most expected hashes of a part. The 2^63 nonces after any start then lack a solution with chance e^-128."""


@dataclass(frozen=True)
class Solution:
    """A nonce for each part, and the number of hashes tried to find them, which nobody can verify."""

    nonces: tuple[int, ...]
    tried: int


@dataclass(frozen=True)
class Puzzle(ABC):
    """A puzzle that takes `difficulty` expected hashes and is bound to a challenge.

    A nonce solves a part if its digest, read as a big-endian number, is below `target`. The hashed text holds
    the kind, the challenge, the difficulty, the part and the number of parts, so no nonce solves another
    puzzle.

    Args:
        challenge: Bytes that no other puzzle has, not empty.
        difficulty: Expected hashes for all parts together.
        parts: Sub-puzzles of difficulty / parts each, which all must be solved. More parts keep the mean and
            divide the spread of the solving time by sqrt(parts).

    Raises:
        ValueError: A value is out of its range; the message names the option.
    """

    kind: ClassVar[str]
    """The name of the kind; a class that states one of its own enters KINDS with it."""

    digest_bits: ClassVar[int]
    in_threads: ClassVar[bool] = False
    """Whether searches in several threads of a process run at the same time."""

    memory_hard: ClassVar[bool] = False
    """Whether memory bounds the speed of a hash, so that it does not follow the rates of other kinds."""

    challenge: bytes
    difficulty: float
    parts: int = 1

    def __init_subclass__(cls) -> None:
        kind = vars(cls).get("kind")
        if kind is None:
            return
        other = KINDS.setdefault(kind, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            names = " and ".join(f"{each.__module__}.{each.__qualname__}" for each in (other, cls))
            raise ValueError(f"two kinds of puzzles cannot both be {kind!r}: {names}")
        KINDS[kind] = cls  # also where a module is loaded anew

    def __post_init__(self) -> None:
        self._require(isinstance(self.challenge, bytes) and self.challenge, "challenge", "bytes, not empty")
        self._require_whole("parts", 1, MOST_PARTS)
        self._require(
            _real(self.difficulty) and self.parts <= self.difficulty <= self.parts * HARDEST_PART,
            "difficulty",
            f"a number of hashes, between 1 and 2^56 for each of {self.parts} parts",
        )
        # One type, so that equal difficulties are hashed and divided alike.
        object.__setattr__(self, "difficulty", float(self.difficulty))

    def _require(self, valid: object, option: str, rule: str) -> None:
        if not valid:
            raise ValueError(f"puzzle.{option} must be {rule}; it is {getattr(self, option)!r}")

    def _require_whole(self, option: str, low: int, high: int) -> None:
        """Require a whole number from `low` to `high`."""
        value = getattr(self, option)
        self._require(
            type(value) is int and low <= value <= high,
            option,
            f"a whole number between {low} and {high}",
        )

    @cached_property
    def target(self) -> int:
        """The number that digests must stay below: floor(2 ** digest_bits * parts / difficulty)."""
        # A float is a ratio of whole numbers: taken as such, no digit of the target is lost.
        above, below = self.difficulty.as_integer_ratio()
        return (self.parts * below << self.digest_bits) // above

    @cached_property
    def largest(self) -> bytes:
        """The largest digest that solves a part."""
        return (self.target - 1).to_bytes(self.digest_bits // 8, "big")

    @property
    def expected_hashes(self) -> float:
        """Mean number of hashes that solve all parts: the number that a request is charged with."""
        return self.parts * ((1 << self.digest_bits) / self.target)

    @property
    def relative_spread(self) -> float:
        """Standard deviation over mean of the number of hashes, a sum of `parts` geometric variables."""
        return math.sqrt((1 - self.parts / self.expected_hashes) / self.parts)

    def enough(self, chance: float) -> float:
        """Return hashes within which all parts are solved, except with this chance, between 0 and 1.

        The hashes of a part follow an exponential law, but for their being whole; those of all parts are the
        sum of so many.
        """
        return _parts_enough(self.parts, chance) * self.expected_hashes / self.parts

    @property
    def chunk(self) -> int:
        """Hashes that a solver tries between two checks of its limits: some 20 ms of one core."""
        return 1 << 16

    @classmethod
    def granted(cls, difficulty: np.ndarray, parts: int) -> np.ndarray:
        """Return `expected_hashes` of puzzles with these difficulties `[n]`, float64 `[n]`."""
        return difficulty

    @classmethod
    def relative_work(cls, **options: Any) -> float:
        """Return the work of a hash with these options, over that with the kind's standard options."""
        return 1.0

    def seed(self, part: int) -> bytes:
        """Return 32 bytes that no other part and no other puzzle has."""
        kind = self.kind.encode()
        # All before the challenge has a known length, so two puzzles never hash the same bytes.
        head = struct.pack(">B", len(kind)) + kind + struct.pack(">dII", self.difficulty, part, self.parts)
        return hashlib.sha256(b"tollgate puzzle 1:" + head + self.challenge).digest()

    def accepts(self, part: int, nonce: int) -> bool:
        """Tell whether the nonce solves the part, with one hash."""
        return self.search(part, nonce, 1) is not None

    @abstractmethod
    def search(self, part: int, start: int, count: int) -> int | None:
        """Return the first of `count` nonces, from `start` on, that solves the part, or None.

        All of them must be below 2^64.
        """


@cache
def _parts_enough(parts: int, chance: float) -> float:
    """Return the x, in means of a part, that the hashes of all parts exceed with this chance.

    They do if a Poisson number of mean x is below `parts`.
    """
    low, high = 0.0, parts - 2 * math.log(chance) + 4 * math.sqrt(parts * -math.log(chance))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _poisson_below(parts, middle) < chance else (middle, high)
    return high


def _poisson_below(count: int, mean: float) -> float:
    """Return the probability that a Poisson number of this mean is below `count`."""
    number = np.arange(count)
    logs = number * math.log(mean) - mean - np.concatenate([[0.0], np.log(number[1:]).cumsum()])
    return float(np.exp(logs).sum())


def _real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def verify(puzzle: Puzzle, solution: object) -> bool:
    """Tell whether `solution` solves the puzzle, with at most one hash per part. It never raises.

    Args:
        puzzle: Puzzle that was asked for.
        solution: A Solution, whose `tried` is ignored, or a list or tuple with one nonce per part. A nonce is
            an int from 0 to 2^64 - 1. True, 1.0 and "1" are not nonces, so a solution has one form only.

    Returns:
        True if every part is solved; False for everything else.
    """
    # Exact types: a subclass could bring methods of its own.
    nonces = solution.nonces if type(solution) is Solution else solution
    if type(nonces) is not tuple and type(nonces) is not list:
        return False
    if len(nonces) != puzzle.parts or not all(type(nonce) is int and 0 <= nonce < NONCES for nonce in nonces):
        return False
    return all(puzzle.accepts(part, nonce) for part, nonce in enumerate(nonces))
