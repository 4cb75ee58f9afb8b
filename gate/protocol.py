"""What a client and a gate say to each other, without the means: the same for every kind of client.

An exchange is a generator that yields what it needs next (an exchange over HTTP, a solution, some seconds
of waiting), is sent the outcome, and returns its result.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from pow.puzzles import KINDS, Puzzle, PuzzleSettings, Solution

NPY = "application/x-npy"
JSON = "application/json"
"""Content types: images in NumPy's format, and everything else."""

RETRIED = {429, 503}
FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds before the first new try at a gate that does not answer, doubled for each, and the most."""


class Refused(Exception):
    """The gate refused a request; `reason` is its word for it, `status` that of HTTP."""

    def __init__(self, reason: str, detail: str, status: int) -> None:
        super().__init__(f"{reason.replace('_', ' ')}: {detail}")
        self.reason, self.detail, self.status = reason, detail, status


class TooExpensive(Exception):
    """The gate asks for more work than the client is willing to do."""


@dataclass(frozen=True)
class Model:
    """What a gate serves."""

    image_shape: tuple[int, int, int]
    classes: int
    answers: str
    largest_batch: int


@dataclass(frozen=True, eq=False)
class Receipt:
    """An answer and its price: probabilities float32 `[n, classes]` or labels int64 `[n]`, hashes, seconds.

    `asked_seconds` is what the work was meant to take the gate's reference client.
    """

    answer: np.ndarray
    expected_hashes: float
    tried_hashes: int
    solve_seconds: float
    asked_seconds: float


@dataclass(frozen=True)
class Willing:
    """How far a client goes: hashes for a request, seconds of solving, how often it tries again.

    `workers` processes solve; None: what is fastest (see `pow.puzzles.solve`).
    """

    max_hashes: float = 2.0**40
    solve_seconds: float | None = None
    retries: int = 5
    workers: int | None = None


@dataclass(frozen=True)
class Call:
    """An exchange over HTTP; sent back is the response, or None where there was none."""

    method: str
    path: str
    content: bytes = b""
    kind: str = JSON


@dataclass(frozen=True)
class Solve:
    """A puzzle, and the seconds that it takes the reference client; sent back is its Solution."""

    puzzle: Puzzle
    seconds: float


Step = Call | Solve | float
"""What an exchange needs next: an exchange over HTTP, a solution, or so many seconds of waiting."""

Exchange = Generator[Step, Any, Any]


def _call(call: Call, retries: int) -> Generator[Step, Any, httpx.Response]:
    """The response, after as many tries as it takes; raises Refused."""
    for tries_left in range(retries, -1, -1):
        response: httpx.Response | None = yield call
        if response is None:
            wait = FIRST_WAIT * 2.0 ** (retries - tries_left)
            problem = Refused("unreachable", "the gate does not answer", 0)
        elif response.status_code in (200, 402):
            return response
        else:
            problem = _problem(response)
            if response.status_code not in RETRIED:
                raise problem
            wait = float(response.headers.get("retry-after", 1))
        if tries_left:
            yield min(wait, LONGEST_WAIT)
    raise problem


def _problem(response: httpx.Response) -> Refused:
    try:
        said = response.json()
        return Refused(said["reason"], said["detail"], response.status_code)
    except (ValueError, KeyError, TypeError):
        return Refused("no_gate", f"status {response.status_code}, and no problem+json", response.status_code)


def describe(willing: Willing) -> Exchange:
    """What is served: a Model."""
    said = (yield from _call(Call("GET", "/v1/model"), willing.retries)).json()
    return Model(tuple(said["image_shape"]), said["classes"], said["answers"], said["largest_batch"])


def request(images: np.ndarray, willing: Willing) -> Exchange:
    """One request, paid for: a Receipt."""
    response = yield from _call(Call("POST", "/v1/predict", encode(images), NPY), willing.retries)
    said = response.json()
    puzzle = _puzzle(said["puzzle"])
    if puzzle.expected_hashes > willing.max_hashes:
        raise TooExpensive(
            f"the gate asks for {puzzle.expected_hashes:.3g} hashes, at most {willing.max_hashes:.3g}"
        )
    started = time.perf_counter()
    solution: Solution = yield Solve(puzzle, said["seconds"])
    seconds = time.perf_counter() - started
    body = json.dumps({"challenge": said["challenge"], "nonces": list(solution.nonces)}).encode()
    answer = (yield from _call(Call("POST", "/v1/redeem", body), willing.retries)).json()
    return Receipt(
        _values(answer), puzzle.expected_hashes, solution.tried, seconds, asked_seconds=said["seconds"]
    )


def encode(images: np.ndarray) -> bytes:
    """Images as npy."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(images), allow_pickle=False)
    return file.getvalue()


def _puzzle(said: dict[str, Any]) -> Puzzle:
    """The puzzle to solve. Raises Refused for a kind that this client does not know."""
    if said["kind"] not in KINDS:
        raise Refused("unknown_puzzle", f"this client cannot solve {said['kind']!r}", 402)
    settings = PuzzleSettings(KINDS[said["kind"]], said["parts"], said["options"])
    return settings.puzzle(bytes.fromhex(said["challenge"]), said["difficulty"])


def _values(answer: dict[str, Any]) -> np.ndarray:
    if "labels" in answer:
        return np.array(answer["labels"], dtype=np.int64)
    return np.array(answer["probabilities"], dtype=np.float32)


def chunks(images: np.ndarray, size: int) -> list[np.ndarray]:
    """Images request by request."""
    return [images[first : first + size] for first in range(0, len(images), size)]
