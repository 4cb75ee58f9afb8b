"""The protocol between client and gate, without input and output, so that every kind of client can use it.

An exchange is a generator. It yields the step that it needs next: an HTTP request, the solution of a puzzle,
or some seconds of waiting. The client carries out the step and sends the outcome back. In the end the
exchange returns its result.
"""

from __future__ import annotations

import io
import json
import math
import random
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np

from gate.kept import Forgetful, Solved, Work
from pow.puzzles import KINDS, Puzzle, PuzzleSettings, Solution

NPY = "application/x-npy"
JSON = "application/json"
"""Content types: images in NumPy's format, and everything else."""

RETRIED = {408, 409, 429, *range(500, 600)}
"""HTTP statuses after which a request is sent again; 409 says that the same one is being answered."""

FINAL = {"spent"}
"""Reasons after which it is not, whatever the status."""

GONE = {"expired", "spent", "forged_challenge"}
"""Reasons for which a challenge brings nothing any more, so that the query is asked anew."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds until a request is sent again: the first wait, which doubles each time, and the longest. A wait of
its own choice is shortened by up to half, at random, so that clients do not come back all at once."""

ASKED_ANEW = 3
"""Times that a query is asked anew whose challenge expired before it was solved."""

IN_TIME = 2.0
"""Seconds before a challenge expires by which its solution must be found, or half of what it lives yet."""


class Refused(Exception):
    """The gate refused a request, with its word for the reason, a sentence and an HTTP status.

    Where the work was done already, `solved` holds it: Client.redeem gives the answer for it later.
    """

    def __init__(self, reason: str, detail: str, status: int) -> None:
        super().__init__(f"{reason.replace('_', ' ')}: {detail}")
        self.reason, self.detail, self.status = reason, detail, status
        self.solved: Solved | None = None


KIB_HASHES = 12
"""Hashes of SHA-256 that a machine computes while a memory-hard one passes over a KiB, roughly."""


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


def _send(call: Call, retries: int) -> Generator[Step, Any, httpx.Response]:
    """Send a request until the gate accepts it; raise Refused when it refuses or the retries are used up."""
    for tries_left in range(retries, -1, -1):
        response: httpx.Response | Exception = yield call
        usual = FIRST_WAIT * 2.0 ** (retries - tries_left) * random.uniform(0.5, 1.0)
        if isinstance(response, Exception):
            refusal, wait = _unreachable(response), usual
            if refusal.reason != "unreachable":
                raise refusal
        elif response.status_code in (200, 201, 402):
            return response
        else:
            refusal = _refusal(response)
            if response.status_code not in RETRIED or refusal.reason in FINAL:
                raise refusal
            wait = _retry_after(response, usual)
        if tries_left:
            yield min(wait, LONGEST_WAIT)
    raise refusal


def _retry_after(response: httpx.Response, usual: float) -> float:
    """Seconds to wait, which the header gives as a number or as a date; as usual where it gives neither."""
    text = response.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - _gates_time(response))
    except (ValueError, TypeError, OverflowError):
        return usual


def _gates_time(response: httpx.Response) -> float:
    """The time of a response by the clock that dated it, in seconds since 1970; else by our own."""
    try:
        return parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return time.time()


CERTIFICATE = "the certificate of {} is not trusted; give the client its certificate authority"
NO_TLS = "{} does not speak TLS; begin its address with http://"


def _unreachable(error: Exception) -> Refused:
    """Why a request did not arrive: for a reason that passes, or one that does not."""
    said = f"{error} {error.__cause__ or ''} {error.__context__ or ''}".lower()
    request = getattr(error, "_request", None)
    host = request.url.host if request is not None else "the gate"
    if "certificate" in said:
        return Refused("untrusted", CERTIFICATE.format(host), 0)
    if "wrong_version_number" in said or "wrong version number" in said or "record layer failure" in said:
        return Refused("no_tls", NO_TLS.format(host), 0)
    if isinstance(error, httpx.TimeoutException):
        return Refused("unreachable", "the gate does not answer in time", 0)
    return Refused("unreachable", "the gate does not answer", 0)


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


def request(images: np.ndarray, willing: Willing, kept: Forgetful | None = None) -> Exchange:
    """Ask about images, solve the puzzle and redeem it; the result is a Receipt.

    Args:
        images: Images of one request, float32 in [0, 1] or uint8, `[n, c, h, w]`.
        willing: The work that the client accepts.
        kept: Keeps what was begun, and has what was begun for the same images before.

    Raises:
        Refused: The gate refuses, or does not answer; `solved` holds the work that was done for it.
        TooExpensive: The puzzle takes more hashes than `willing.max_hashes`, or no puzzle could be solved
            before it expired.
    """
    body, kept = encode(images), kept or Forgetful()
    for _ in range(ASKED_ANEW):
        work = kept.recall(body) or Work.begun()
        solved = work.solved
        if solved is None:
            kept.remember(body, work)  # before it is sent, so that it is never sent under another key
            try:
                solved = yield from _solution(body, work.attempt, willing)
            except Refused as error:
                if 400 <= error.status < 500 and error.status not in RETRIED:
                    kept.forget(body)  # it was refused for good, so nothing was booked
                raise
            if solved is None:
                kept.forget(body)
                continue
            kept.remember(body, replace(work, solved=solved))
        try:
            answer = yield from redeem(solved, willing)
        except Refused as error:
            if error.reason not in GONE:
                raise
            kept.forget(body)  # it came too late
            continue
        kept.forget(body)
        return Receipt(answer, solved.expected_hashes, solved.tried_hashes, solved.seconds)
    raise TooExpensive(f"{ASKED_ANEW} challenges expired before this machine had solved them")


def _solution(body: bytes, attempt: str, willing: Willing) -> Generator[Step, Any, Solved | None]:
    """Ask for a challenge and solve it; the result is None where it expires before."""
    asked = yield from _send(Call("POST", "/v1/predict", body, NPY, attempt), willing.retries)
    challenge = _affordable(asked, willing)
    started = time.perf_counter()
    solution: Solution | None = yield Solve(challenge.puzzle, challenge.seconds)
    return None if solution is None else challenge.solved(solution, time.perf_counter() - started)


def redeem(solved: Solved, willing: Willing) -> Exchange:
    """Redeem a solution; the result is the answer. Raises Refused, with the solution in it."""
    content = json.dumps({"challenge": solved.token, "nonces": list(solved.nonces)}).encode()
    try:
        released = yield from _send(Call("POST", "/v1/redeem", content), willing.retries)
        with _read_as_a_gates(released):
            return _answer(released.json())
    except Refused as error:
        error.solved = solved
        raise


def open_account(willing: Willing) -> Exchange:
    """Ask for an account, solve the puzzle and redeem it for the key; the result is an Opened.

    Raises:
        Refused: The gate opens no accounts (`not_found`), or it does not answer.
        TooExpensive: The puzzle takes more hashes than `willing.max_hashes`.
    """
    asked = yield from _send(Call("POST", "/v1/accounts"), willing.retries)
    challenge = _affordable(asked, willing)
    solution: Solution | None = yield Solve(challenge.puzzle, challenge.seconds)
    if solution is None:
        raise TooExpensive("the challenge expired before this machine had solved it")
    content = json.dumps({"challenge": challenge.token, "nonces": list(solution.nonces)}).encode()
    response = yield from _send(Call("POST", "/v1/accounts/redeem", content), willing.retries)
    with _read_as_a_gates(response):
        opened = response.json()
        return Opened(_word(opened["account"]), _word(opened["key"]), challenge.puzzle.expected_hashes)


def _word(text: str) -> str:
    """Return a name or a key, as it is kept and printed; raise ValueError for what cannot be one."""
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError
    return text


@dataclass(frozen=True)
class _Asked:
    """What a gate asks for: a puzzle, its token, and how many seconds there are to solve it."""

    puzzle: Puzzle
    token: str
    seconds: float

    def solved(self, solution: Solution, seconds: float) -> Solved:
        expected = self.puzzle.expected_hashes
        return Solved(self.token, solution.nonces, expected, solution.tried, seconds)


def _affordable(response: httpx.Response, willing: Willing) -> _Asked:
    """Return what a gate asks for; raise TooExpensive for more work than the client accepts."""
    with _read_as_a_gates(response):
        asked = response.json()
        puzzle, token = _puzzle(asked["puzzle"]), str(asked["challenge"])
        expires = float(asked.get("expires", math.inf))
    _check_affordable(puzzle, willing)
    left = max(0.0, expires - _gates_time(response))
    return _Asked(puzzle, token, left - min(IN_TIME, left / 2))


def _check_affordable(puzzle: Puzzle, willing: Willing) -> None:
    """Raise TooExpensive for a puzzle that takes more work or memory than the client accepts."""
    memory = getattr(puzzle, "memory", 0) if puzzle.memory_hard else 0
    passed = memory * getattr(puzzle, "passes", 1)
    if memory > willing.max_memory or passed > 4 * willing.max_memory:
        raise TooExpensive(f"the gate asks for {passed:,} KiB a hash, at most {willing.max_memory:,}")
    each, kind = (KIB_HASHES * passed, f" {puzzle.kind}") if memory else (1, "")
    if puzzle.expected_hashes * each > willing.max_hashes:
        most = willing.max_hashes / each
        raise TooExpensive(f"the gate asks for {puzzle.expected_hashes:.3g}{kind} hashes, at most {most:.3g}")


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
