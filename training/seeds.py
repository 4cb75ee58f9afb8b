"""Random streams: each depends on a seed and a purpose, and not on what ran before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose, such as `derive_seed(7, "substitute", round)`.

    Streams of different purposes are independent. A resumed run finds the same streams without a stored
    state of any generator.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator for one purpose (see `derive_seed`)."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed torch's global generators for one purpose within a block, and restore them afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, *purpose))
        yield
