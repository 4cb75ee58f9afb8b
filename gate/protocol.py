"""The protocol between client and gate, without input and output, so that every kind of client can use it.

An exchange is a generator. It yields the step that it needs next: an HTTP request, the solution of a puzzle,
or some seconds of waiting. The client carries out the step and sends the outcome back. In the end the
exchange returns its result.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from pow.puzzles import KINDS, Puzzle, PuzzleSettings, Solution

NPY = "application/x-npy"
JSON = "application/json"
"""Content types: images in NumPy's format, and everything else."""

RETRIED = {429, 503}
"""HTTP statuses after which a request is sent again."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds until a request is sent again: the first wait, which doubles each time, and the longest."""


class Refused(Exception):
    """The gate refused a request, with its word for the reason, a sentence and an HTTP status."""

    def __init__(self, reason: str, detail: str, status: int) -> None:
        super().__init__(f"{reason.replace('_', ' ')}: {detail}")
        self.reason, self.detail, self.status = reason, detail, status


class TooExpensive(Exception):
    """The gate asks for more work than the client is willing to do."""


@dataclass(frozen=True)
class Model:
    """What a gate serves: images `[c, h, w]`, classes, the kind of answers, and most images in a request."""

    image_shape: tuple[int, int, int]
    classes: int
    answers: str
    largest_batch: int


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
        max_hashes: Most expected hashes of a request.
        solve_seconds: Most seconds of solving a puzzle; None is no limit.
        retries: How often a request is sent again if the gate is busy or does not answer.
        workers: Processes that solve; None is the fastest way (see `pow.puzzles.solve`).
    """

    max_hashes: float = 2.0**40
    solve_seconds: float | None = None
    retries: int = 5
    workers: int | None = None


@dataclass(frozen=True)
class Call:
    """Step: send an HTTP request; `kind` is its media type. The outcome is the response, or None."""

    method: str
    path: str
    content: bytes = b""
    kind: str = JSON


@dataclass(frozen=True)
class Solve:
    """Step: solve a puzzle. The outcome is a Solution."""

    puzzle: Puzzle


Step = Call | Solve | float
"""What an exchange needs next; a number is a step too: wait so many seconds."""

Exchange = Generator[Step, Any, Any]
"""Yields steps, is sent their outcomes, and returns its result."""


def _send(call: Call, retries: int) -> Generator[Step, Any, httpx.Response]:
    """Send a request until the gate accepts it; raise Refused when it refuses or the retries are used up."""
    for tries_left in range(retries, -1, -1):
        response: httpx.Response | None = yield call
        if response is None:
            wait = FIRST_WAIT * 2.0 ** (retries - tries_left)
            refusal = Refused("unreachable", "the gate does not answer", 0)
        elif response.status_code in (200, 201, 402):
            return response
        else:
            refusal = _refusal(response)
            if response.status_code not in RETRIED:
                raise refusal
            wait = _retry_after(response)
        if tries_left:
            yield min(wait, LONGEST_WAIT)
    raise refusal


def _retry_after(response: httpx.Response) -> float:
    """Seconds to wait; 1 where the header is missing or, as a proxy may send it, a date."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 1.0


def _refusal(response: httpx.Response) -> Refused:
    """Read a refusal from a response, which may come from something else than a gate."""
    try:
        problem = response.json()
        reason, detail = (_printable(problem[name]) for name in ("reason", "detail"))
    except (ValueError, KeyError, TypeError):
        return Refused("no_gate", f"status {response.status_code}, and no problem+json", response.status_code)
    return Refused(reason, detail, response.status_code)


def _printable(text: Any) -> str:
    """Return a stranger's text without what a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in str(text))


@contextmanager
def _read_as_a_gates(response: httpx.Response) -> Iterator[None]:
    """Raise Refused where a response that was accepted cannot be read as a gate's."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"status {response.status_code}, and not what a gate answers"
        raise Refused("no_gate", detail, response.status_code) from error


def describe(willing: Willing) -> Exchange:
    """Ask what is served; the result is a Model."""
    response = yield from _send(Call("GET", "/v1/model"), willing.retries)
    with _read_as_a_gates(response):
        model = response.json()
        return Model(tuple(model["image_shape"]), model["classes"], model["answers"], model["largest_batch"])


def request(images: np.ndarray, willing: Willing) -> Exchange:
    """Ask about images, solve the puzzle and redeem it; the result is a Receipt.

    Args:
        images: Images of one request, float32 in [0, 1] or uint8, `[n, c, h, w]`.
        willing: The work that the client accepts.

    Raises:
        Refused: The gate refuses, or does not answer.
        TooExpensive: The puzzle takes more hashes than `willing.max_hashes`.
    """
    asked = yield from _send(Call("POST", "/v1/predict", encode(images), NPY), willing.retries)
    puzzle, token = _affordable(asked, willing)
    started = time.perf_counter()
    solution: Solution = yield Solve(puzzle)
    seconds = time.perf_counter() - started
    redeem = Call("POST", "/v1/redeem", _redemption(token, solution))
    released = yield from _send(redeem, willing.retries)
    with _read_as_a_gates(released):
        answer = _answer(released.json())
    return Receipt(answer, puzzle.expected_hashes, solution.tried, seconds)


def open_account(willing: Willing) -> Exchange:
    """Ask for an account, solve the puzzle and redeem it for the key; the result is an Opened.

    Raises:
        Refused: The gate opens no accounts (`not_found`), or it does not answer.
        TooExpensive: The puzzle takes more hashes than `willing.max_hashes`.
    """
    asked = yield from _send(Call("POST", "/v1/accounts"), willing.retries)
    puzzle, token = _affordable(asked, willing)
    solution: Solution = yield Solve(puzzle)
    redeem = Call("POST", "/v1/accounts/redeem", _redemption(token, solution))
    response = yield from _send(redeem, willing.retries)
    with _read_as_a_gates(response):
        opened = response.json()
        return Opened(_word(opened["account"]), _word(opened["key"]), puzzle.expected_hashes)


def _word(text: str) -> str:
    """Return a name or a key, as it is kept and printed; raise ValueError for what cannot be one."""
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError
    return text


def _affordable(response: httpx.Response, willing: Willing) -> tuple[Puzzle, str]:
    """Return a challenge's puzzle and token; raise TooExpensive for more work than the client accepts."""
    with _read_as_a_gates(response):
        asked = response.json()
        puzzle, token = _puzzle(asked["puzzle"]), str(asked["challenge"])
    if puzzle.expected_hashes > willing.max_hashes:
        raise TooExpensive(
            f"the gate asks for {puzzle.expected_hashes:.3g} hashes, at most {willing.max_hashes:.3g}"
        )
    return puzzle, token


def _redemption(token: str, solution: Solution) -> bytes:
    """The body that redeems a challenge."""
    return json.dumps({"challenge": token, "nonces": list(solution.nonces)}).encode()


def encode(images: np.ndarray) -> bytes:
    """Write images as npy."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(images), allow_pickle=False)
    return file.getvalue()


def _puzzle(fields: dict[str, Any]) -> Puzzle:
    """Make the puzzle that a challenge describes; raise Refused for a kind that this client cannot solve."""
    if fields["kind"] not in KINDS:
        raise Refused("unknown_puzzle", f"this client cannot solve {fields['kind']!r:.40}", 402)
    settings = PuzzleSettings(KINDS[fields["kind"]], fields["parts"], fields["options"])
    return settings.puzzle(bytes.fromhex(fields["challenge"]), fields["difficulty"])


def _answer(fields: dict[str, Any]) -> np.ndarray:
    """Return probabilities float32 `[n, classes]`, or labels int64 `[n]`."""
    if "labels" in fields:
        return np.array(fields["labels"], dtype=np.int64)
    return np.array(fields["probabilities"], dtype=np.float32)


def chunks(images: np.ndarray, size: int) -> list[np.ndarray]:
    """Split images into requests of at most `size` images."""
    return [images[first : first + size] for first in range(0, len(images), size)]
