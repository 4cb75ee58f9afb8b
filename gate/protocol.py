"""The protocol between client and gate, without input and output, so that every kind of client can use it.

An exchange is a generator. It yields the step that it needs next: an HTTP request, the solution of a puzzle,
or some seconds of waiting. The client carries out the step and sends the outcome back. In the end the
exchange returns its result.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx
import numpy as np

from gate.kept import Forgetful, Solved, Work
from gate.sending import gates_time, read_as_a_gates, send
from gate.steps import (
    NPY,
    Call,
    Exchange,
    Model,
    Opened,
    Receipt,
    Refused,
    Solve,
    Step,
    TooExpensive,
    Willing,
)
from pow.puzzles import KINDS, Puzzle, PuzzleSettings, Solution

GONE = {"expired", "spent", "forged_challenge"}
"""Reasons for which a challenge brings nothing any more, so that the query is asked anew."""

NO_SOLUTION = {"wrong_solution", "invalid_solution", "malformed"}
"""Reasons for which what was kept of a challenge solves nothing."""

NOT_BOOKED = {"malformed", "invalid_images", "too_large", "unknown_format", "key_reused"}
"""Reasons for which a query was booked under no key, so that its key need not be kept."""

ASKED_ANEW = 3
"""Times that a query is asked anew whose challenge expired before it was solved."""

IN_TIME = 2.0
"""Seconds before a challenge expires by which its solution must be found, or half of what it lives yet."""


LARGEST_IMAGE = 2**26
"""Numbers of an image, which the client would make for a gate; more is none."""

KIB_HASHES = 12
"""Hashes of SHA-256 that a machine computes while a memory-hard one passes over a KiB, roughly."""


def describe(willing: Willing) -> Exchange:
    """Ask what is served; the result is a Model."""
    response = yield from send(Call("GET", "/v1/model"), willing.retries)
    with read_as_a_gates(response):
        model = response.json()
        channels, height, width = model["image_shape"]
        counts = (channels, height, width, model["classes"], model["largest_batch"])
        if not all(type(count) is int and count >= 1 for count in counts):
            raise ValueError
        if channels * height * width > LARGEST_IMAGE:
            raise ValueError
        shape, names = (channels, height, width), tuple(model.get("class_names", ()))
        if names and (len(names) != model["classes"] or not all(map(str.isprintable, names))):
            raise ValueError
        return Model(shape, model["classes"], model["answers"], model["largest_batch"], names)


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
                if error.reason in NOT_BOOKED:
                    kept.forget(body)
                raise
            if solved is None:
                kept.forget(body)
                continue
            with suppress(OSError):  # it can be redeemed all the same
                kept.remember(body, replace(work, solved=solved))
        try:
            answer = yield from redeem(solved, willing)
        except Refused as error:
            if work.solved is not None and error.reason in NO_SOLUTION:
                kept.remember(body, replace(work, solved=None))  # what was kept is damaged
                continue
            if error.reason not in GONE:
                raise
            kept.forget(body)  # it came too late
            continue
        kept.answered(body)
        return Receipt(answer, solved.expected_hashes, solved.tried_hashes, solved.seconds)
    raise TooExpensive(f"{ASKED_ANEW} challenges expired before this machine had solved them")


def _solution(body: bytes, attempt: str, willing: Willing) -> Generator[Step, Any, Solved | None]:
    """Ask for a challenge and solve it; the result is None where it expires before."""
    asked = yield from send(Call("POST", "/v1/predict", body, NPY, attempt), willing.retries)
    challenge = _affordable(asked, willing)
    started = time.perf_counter()
    solution: Solution | None = yield Solve(challenge.puzzle, challenge.seconds)
    return None if solution is None else challenge.solved(solution, time.perf_counter() - started)


def redeem(solved: Solved, willing: Willing) -> Exchange:
    """Redeem a solution; the result is the answer. Raises Refused, with the solution in it."""
    content = json.dumps({"challenge": solved.token, "nonces": list(solved.nonces)}).encode()
    try:
        released = yield from send(Call("POST", "/v1/redeem", content), willing.retries)
        with read_as_a_gates(released):
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
    asked = yield from send(Call("POST", "/v1/accounts"), willing.retries)
    challenge = _affordable(asked, willing)
    solution: Solution | None = yield Solve(challenge.puzzle, challenge.seconds)
    if solution is None:
        raise TooExpensive("the challenge expired before this machine had solved it")
    content = json.dumps({"challenge": challenge.token, "nonces": list(solution.nonces)}).encode()
    response = yield from send(Call("POST", "/v1/accounts/redeem", content), willing.retries)
    with read_as_a_gates(response):
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
    with read_as_a_gates(response):
        asked = response.json()
        puzzle, token = _puzzle(asked["puzzle"]), str(asked["challenge"])
        expires = float(asked.get("expires", math.inf))
    _check_affordable(puzzle, willing)
    left = max(0.0, expires - gates_time(response))
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
