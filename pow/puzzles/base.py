"""What every puzzle is: find nonces whose digests are small enough."""

from __future__ import annotations

import hashlib
import math
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, ClassVar

import numpy as np

KINDS: dict[str, type[Puzzle]] = {}
"""Every kind of puzzle by the name that the config and the wire give it; a class enters by being defined."""

NONCES = 2**64
"""Nonces are whole numbers below it."""

MOST_PARTS = 4096
HARDEST_PART = 2.0**56
"""Expected hashes of a part at most: the nonces above any start then hold a solution, but for e^-128."""


@dataclass(frozen=True)
class Solution:
    """A nonce for each part, and how many hashes were tried to find them (which nobody can verify)."""

    nonces: tuple[int, ...]
    tried: int


@dataclass(frozen=True)
class Puzzle(ABC):
    """Work of `difficulty` expected hashes, bound to a challenge.

    It is split into `parts` sub-puzzles of difficulty / parts each, which all must be solved: the mean stays
    and the solving time's spread falls with sqrt(parts). A part is solved by a nonce whose digest, read as a
    big-endian number, lies below `target`. What is hashed holds the kind, the challenge, the difficulty, the
    part and the number of parts, so no nonce serves another puzzle. Raises ValueError naming the option for
    values that make no sense.
    """

    kind: ClassVar[str]
    """The name of the kind; a class that states one of its own enters KINDS with it."""

    digest_bits: ClassVar[int]
    memory_hard: ClassVar[bool] = False
    """Whether a hash is bounded by memory, so that rates of other kinds say nothing of it."""

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
        value = getattr(self, option)
        self._require(
            type(value) is int and low <= value <= high,
            option,
            f"a whole number between {low} and {high}",
        )

    @cached_property
    def target(self) -> int:
        """Digests below this number win: floor(2 ** digest_bits * parts / difficulty)."""
        # A float is a ratio of whole numbers: taken as such, no digit of the target is lost.
        above, below = self.difficulty.as_integer_ratio()
        return (self.parts * below << self.digest_bits) // above

    @cached_property
    def largest(self) -> bytes:
        """The largest digest that wins."""
        return (self.target - 1).to_bytes(self.digest_bits // 8, "big")

    @property
    def expected_hashes(self) -> float:
        """Mean number of hashes that solve all parts. This is what a caller has charged."""
        return self.parts * ((1 << self.digest_bits) / self.target)

    @property
    def relative_spread(self) -> float:
        """Standard deviation of the number of hashes over its mean: a sum of `parts` geometric numbers."""
        return math.sqrt((1 - self.parts / self.expected_hashes) / self.parts)

    @property
    def chunk(self) -> int:
        """Tries between two looks at the clock: some 20 ms of one core."""
        return 1 << 16

    @classmethod
    def granted(cls, difficulty: np.ndarray, parts: int) -> np.ndarray:
        """`expected_hashes` of puzzles of these difficulties, float64 `[n]`."""
        return difficulty

    @classmethod
    def relative_work(cls, **options: Any) -> float:
        """Work of a hash with these options of the kind over that of one with its standard options."""
        return 1.0

    def seed(self, part: int) -> bytes:
        """32 bytes that no other part of any other puzzle has."""
        kind = self.kind.encode()
        # The challenge comes last, and all before it tells its own length: two puzzles never read alike.
        head = struct.pack(">B", len(kind)) + kind + struct.pack(">dII", self.difficulty, part, self.parts)
        return hashlib.sha256(b"tollgate puzzle 1:" + head + self.challenge).digest()

    def accepts(self, part: int, nonce: int) -> bool:
        """Whether the nonce solves the part; one hash."""
        return self.search(part, nonce, 1) is not None

    @abstractmethod
    def search(self, part: int, start: int, count: int) -> int | None:
        """The first of `count` nonces from `start` on that solves the part, or None; all are below 2^64."""


def _real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def verify(puzzle: Puzzle, solution: object) -> bool:
    """Whether this solves the puzzle: a Solution, or a list or tuple of one nonce a part.

    Costs at most one hash a part. False for anything else, whatever it is; nothing raises. A nonce is an int
    from 0 to 2^64 - 1: True, 1.0 and "1" are none, so a solution is written in one way only. `tried` is not
    looked at.
    """
    # Exact types: a subclass could bring methods of its own.
    nonces = solution.nonces if type(solution) is Solution else solution
    if type(nonces) is not tuple and type(nonces) is not list:
        return False
    if len(nonces) != puzzle.parts or not all(type(nonce) is int and 0 <= nonce < NONCES for nonce in nonces):
        return False
    return all(puzzle.accepts(part, nonce) for part, nonce in enumerate(nonces))
