"""What client and gate say to each other: the steps of an exchange, and what may come of it."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gate.kept import Solved
from pow.puzzles import Puzzle

NPY = "application/x-npy"
JSON = "application/json"
"""Content types: images in NumPy's format, and everything else."""


class Refused(Exception):
    """The gate refused a request, with its word for the reason, a sentence and an HTTP status.

    Where the work was done already, `solved` holds it: Client.redeem gives the answer for it later.
    """

    def __init__(self, reason: str, detail: str, status: int) -> None:
        super().__init__(f"{reason.replace('_', ' ')}: {detail}")
        self.reason, self.detail, self.status = reason, detail, status
        self.solved: Solved | None = None


class TooExpensive(Exception):
    """The gate asks for more work than the client is willing to do."""


@dataclass(frozen=True)
class Model:
    """What a gate serves: images `[c, h, w]`, classes, the kind of answers, and most images in a request.

    Its classes may have names.
    """

    image_shape: tuple[int, int, int]
    classes: int
    answers: str
    largest_batch: int
    class_names: tuple[str, ...] = ()

    def name_of(self, label: int) -> str:
        """What a class is called."""
        return self.class_names[label] if self.class_names else f"class {label}"


@dataclass(frozen=True, eq=False)
class Receipt:
    """An answer and the price that was paid for it.

    Args:
        answer: Probabilities float32 `[n, classes]`, or labels int64 `[n]`.
        expected_hashes: Mean hashes of the puzzle.
        tried_hashes: Hashes that this client computed.
        solve_seconds: Seconds that it took this client.
    """

    answer: np.ndarray
    expected_hashes: float
    tried_hashes: int
    solve_seconds: float


@dataclass(frozen=True)
class Opened:
    """A new account, its API key, which the gate keeps nowhere, and the mean hashes of its puzzle."""

    account: str
    key: str
    expected_hashes: float


@dataclass(frozen=True)
class Willing:
    """The work that a client accepts, and how it solves puzzles.

    Args:
        max_hashes: Most expected hashes of a request. A hash of a memory-hard puzzle counts for 12 for each
            KiB that it passes over, which take about as long.
        solve_seconds: Most seconds of solving a puzzle; None is no limit. It holds within a chunk of hashes,
            or a single memory-hard one, some seconds at most.
        max_memory: Most KiB that one hash may take; it may pass over them four times.
        retries: How often a request is sent again if the gate is busy or does not answer.
        workers: Processes that solve; None is the fastest way (see `pow.puzzles.solve`).
    """

    max_hashes: float = 2.0**40
    solve_seconds: float | None = None
    max_memory: int = 2**20
    retries: int = 5
    workers: int | None = None


@dataclass(frozen=True)
class Call:
    """Step: send an HTTP request; `kind` is its media type, `attempt` tells it from others.

    The outcome is the response, or the error of the transport.
    """

    method: str
    path: str
    content: bytes = b""
    kind: str = JSON
    attempt: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Its headers."""
        attempt = {} if self.attempt is None else {"Idempotency-Key": self.attempt}
        return {"Content-Type": self.kind} | attempt


@dataclass(frozen=True)
class Solve:
    """Step: solve a puzzle within so many seconds. The outcome is a Solution, or None after that time."""

    puzzle: Puzzle
    seconds: float = math.inf


Step = Call | Solve | float
"""What an exchange needs next; a number is a step too: wait so many seconds."""

Exchange = Generator[Step, Any, Any]
"""Yields steps, is sent their outcomes, and returns its result."""
