"""SHA-256 below a target: the puzzle that most machines solve at a predictable rate."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import ClassVar

from pow.puzzles.base import Puzzle
from storage.identity import stable_id

COMPILES_FROM = 2**30
"""Expected hashes from which it pays to compile `pow.puzzles.kernel`.

It takes a minute when PyTorch's cache is cold, ten seconds when it is warm. With 2 million hashes a second by
hashlib's loop and 13 million by the kernel on each core, eight cores and a cold cache then take as long with
it as without; fewer cores gain from smaller puzzles already.
"""


@stable_id("puzzle/sha256")
@dataclass(frozen=True)
class Sha256Puzzle(Puzzle):
    """Digest of the part's 32-byte seed and the nonce as 8 bytes, big-endian: one block a try."""

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
