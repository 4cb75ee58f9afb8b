"""The sha256 puzzle is the one that most machines solve at a predictable rate."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pow.puzzles.base import Puzzle
from storage.identity import stable_id

search_natively: Callable[[bytes, bytes, int, int], int | None] | None
try:
    from pow.puzzles.native import search as search_natively
except ImportError:  # it was installed where nothing could compile it
    search_natively = None

COMPILES_FROM = 2**30
"""Expected hashes from which solvers look for a graphics card, or compile `pow.puzzles.kernel` for this one.

Compiling takes a minute when PyTorch's cache is cold, and ten seconds when it is warm. A core does 2 million
hashes a second in hashlib's loop, 13 million in the kernel or in C without SHA instructions, and 49 million
with them, which needs no compiling. So on a processor the kernel is for those who lack the module in C.
"""


@stable_id("puzzle/sha256")
@dataclass(frozen=True)
class Sha256Puzzle(Puzzle):
    """Hashes the part's 32-byte seed and the nonce (8 bytes, big-endian): one SHA-256 block per try."""

    kind: ClassVar[str] = "sha256"
    digest_bits: ClassVar[int] = 256
    in_threads: ClassVar[bool] = search_natively is not None

    @property
    def chunk(self) -> int:
        """See Puzzle."""
        return 1 << 19 if self.in_threads else super().chunk

    def search(self, part: int, start: int, count: int) -> int | None:
        """See Puzzle. The module in C searches where it is there, and finds what the loop would find."""
        if search_natively is not None:
            return search_natively(self.seed(part), self.largest, start, count)
        return self.search_in_a_loop(part, start, count)

    def search_in_a_loop(self, part: int, start: int, count: int) -> int | None:
        """See search."""
        copy, largest, pack = hashlib.sha256(self.seed(part)).copy, self.largest, struct.Struct(">Q").pack
        for nonce in range(start, start + count):
            state = copy()
            state.update(pack(nonce))
            if state.digest() <= largest:
                return nonce
        return None
