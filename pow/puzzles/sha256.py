"""The sha256 puzzle is the one that most machines solve at a predictable rate."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import ClassVar

from pow.puzzles.base import Puzzle
from storage.identity import stable_id

COMPILES_FROM = 2**30
"""Expected hashes from which solvers compile `pow.puzzles.kernel`.

Compiling takes a minute when PyTorch's cache is cold, and ten seconds when it is warm. A core does 2 million
hashes a second in hashlib's loop and 13 million in the kernel. With eight cores and a cold cache both ways
take equally long at this size; with fewer cores the kernel wins for smaller puzzles already.
"""


@stable_id("puzzle/sha256")
@dataclass(frozen=True)
class Sha256Puzzle(Puzzle):
    """Hashes the part's 32-byte seed and the nonce (8 bytes, big-endian): one SHA-256 block per try."""

    kind: ClassVar[str] = "sha256"
    digest_bits: ClassVar[int] = 256

    def search(self, part: int, start: int, count: int) -> int | None:
        """See Puzzle."""
        copy, largest, pack = hashlib.sha256(self.seed(part)).copy, self.largest, struct.Struct(">Q").pack
        for nonce in range(start, start + count):
            state = copy()
            state.update(pack(nonce))
            if state.digest() <= largest:
                return nonce
        return None
