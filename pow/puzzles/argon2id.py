"""The argon2id puzzle is memory-hard, so that a graphics card gains little (RFC 9106)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from argon2.low_level import Type, hash_secret_raw

from pow.puzzles.base import Puzzle
from storage.identity import stable_id
from storage.typed import Bounds

STANDARD_MEMORY = 8192


@stable_id("puzzle/argon2id")
@dataclass(frozen=True)
class Argon2idPuzzle(Puzzle):
    """Hashes the nonce (8 bytes, big-endian) with the part's seed as salt; one evaluation is one hash.

    Argon2 hashes its options too, so a nonce found with other options solves nothing. See Puzzle for the
    other arguments.

    Args:
        memory: Memory in KiB, all lanes together.
        passes: Passes over the memory (the time cost).
        lanes: Lanes that are computed in parallel.
    """

    kind: ClassVar[str] = "argon2id"
    digest_bits: ClassVar[int] = 256
    memory_hard: ClassVar[bool] = True

    memory: Annotated[int, Bounds(8, 2**21)] = STANDARD_MEMORY
    passes: Annotated[int, Bounds(1, 100)] = 1
    lanes: Annotated[int, Bounds(1, 64)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_whole("lanes", 1, 64)
        self._require_whole("memory", 8 * self.lanes, 2**21)
        self._require_whole("passes", 1, 100)

    @property
    def chunk(self) -> int:
        """See Puzzle."""
        return max(1, round(4 / self.relative_work(memory=self.memory, passes=self.passes)))

    @classmethod
    def relative_work(cls, *, memory: int = STANDARD_MEMORY, passes: int = 1, **options: Any) -> float:
        """See Puzzle. Work is in proportion to the memory and to the passes over it."""
        return memory * passes / STANDARD_MEMORY

    def search(self, part: int, start: int, count: int) -> int | None:
        """See Puzzle."""
        salt, largest = self.seed(part), self.largest
        for nonce in range(start, start + count):
            digest = hash_secret_raw(
                struct.pack(">Q", nonce),
                salt,
                time_cost=self.passes,
                memory_cost=self.memory,
                parallelism=self.lanes,
                hash_len=self.digest_bits // 8,
                type=Type.ID,
            )
            if digest <= largest:
                return nonce
        return None
