"""The endpoints of the gate: what each request gets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread
import numpy as np
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from gate.api_keys import key_digest, key_in
from gate.challenges import Signed
from gate.gate import Asked, Gate
from gate.http.bodies import declared, read_body
from gate.http.flushes import Flushes
from gate.http.metrics import Metrics
from gate.http.solutions import Solution, read_solution
from gate.http.turns import Turns
from gate.ledgers.base import Account, Attempt, Busy
from gate.model.asking import Model
from gate.payloads import body_limit, decode
from gate.problems import PROBLEM_JSON, Problem

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPT = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What an Idempotency-Key looks like."""

LEDGER_CALLS = 16
"""Calls of the ledger at a time; they have threads of their own, so a ledger that hangs stalls no page."""

CHECKS_AT_ONCE = os.cpu_count() or 1
CHECKS_WAITING = 64
"""Solutions that are checked at a time, one of each account, and of one account that wait; further ones are
refused. A memory-hard puzzle takes its memory for each check."""

STRANGERS_WAITING = 16
"""Solutions of strangers that wait while one is checked; further ones are refused. Nobody needs a key to send
them, so they must not take the threads that accounts need."""

QUICK_PARTS = 64
"""Parts of a puzzle up to which a check takes less than a thread."""

QUICK_BYTES = 2**14
QUICK_NUMBERS = 2**10
"""Bytes of a body up to which reading its images takes less than a thread, and numbers of its answer."""

BODIES_AT_ONCE = 32
BODIES_EACH = 4
"""Bodies that are read or decoded at a time, in all and of one account; the others wait unread."""


class Endpoints:
    """Answers requests.

    Args:
        gate: Prices, keeps and releases.
        model: The model behind it.
        metrics: Counts what is asked and solved.
        count_stranger: Counts a request of a stranger; raises Problem where there are too many.
    """

    def __init__(
        self, gate: Gate, model: Model, metrics: Metrics, count_stranger: Callable[[Request], None]
    ) -> None:
        self.gate, self.model, self.metrics, self.count_stranger = gate, model, metrics, count_stranger
        self.bodies = Turns("queries", BODIES_AT_ONCE, BODIES_EACH, waiting=1000)
        self.checks = Turns("solutions", CHECKS_AT_ONCE, 1, CHECKS_WAITING)
        self.strangers_checks = Turns("solutions", 1, 1, STRANGERS_WAITING)
        self._ledger_calls = anyio.CapacityLimiter(LEDGER_CALLS)
        self._flushed = Flushes(gate.ledger.flush)

    async def ask(self, request: Request) -> Response:
        """Answer POST /v1/predict: price a query, keep its answer and issue a challenge."""
        account = await self._account(request)
        kind = request.headers.get("content-type", "")
        # A small body waits for nobody's large and slow one.
        is_small = 0 < declared(request) <= QUICK_BYTES
        async with nullcontext() if is_small else self.bodies(account.name):
            body = await read_body(request, self._body_limit(kind))
            attempt, is_quick = _attempt(request, body, kind), len(body) <= QUICK_BYTES
            admitted = await self._ledger(is_quick, self._admitted, account, body, kind, attempt)
        if isinstance(admitted, Signed):
            await self._flushed()
            return JSONResponse(_challenge_content(admitted), 402, media_type=PROBLEM_JSON)
        id, images = admitted
        try:
            asked = await self._charged(account, id, images)
        except BaseException:
            await asyncio.shield(self._ledger(True, self.gate.give_up, id))
            raise
        await self._flushed()
        difficulty = asked.signed.challenge.difficulty
        request.state.noted = {"images": len(images), "cost": asked.cost, "difficulty": difficulty}
        self._count_asked(len(images), asked.signed)
        return JSONResponse(_challenge_content(asked.signed), 402, media_type=PROBLEM_JSON)

    async def redeem(self, request: Request) -> Response:
        """Answer POST /v1/redeem: give the answer for a solution, or again what was given for it before."""
        account = await self._account(request)
        solution = await read_solution(request)
        answer = await self._ledger(True, self.gate.given, account.name, solution.challenge)
        if answer is None:
            answer = await self._paid(account, solution)
            self.metrics.solved.inc()
        return Response(answer, media_type="application/json")

    async def ask_account(self, request: Request) -> Response:
        """Answer POST /v1/accounts: issue a challenge for a new account."""
        await read_body(request, 0)
        signed = self.gate.ask_account()
        self._count_asked(0, signed)
        content = _challenge_content(signed)
        del content["query"]
        content["account"] = signed.challenge.account
        return JSONResponse(content, 402, media_type=PROBLEM_JSON)

    async def open_account(self, request: Request) -> Response:
        """Answer POST /v1/accounts/redeem: open an account for a solution."""
        solution = await read_solution(request)
        async with self.strangers_checks("strangers"):
            opened = await anyio.to_thread.run_sync(
                self.gate.open_account, solution.challenge, solution.nonces
            )
        request.state.account = opened[0]
        self.metrics.solved.inc()
        content = dict(zip(("account", "key"), opened, strict=True))
        return JSONResponse(content, 201, {"Cache-Control": "no-store"})

    async def served(self, request: Request) -> Response:
        """Answer GET /v1/model: say what is served, also to strangers, who are counted."""
        if (key := key_in(request.headers)) and await self._ledger(True, self._found, key) is None:
            self.count_stranger(request)
        service = self.gate.service
        return JSONResponse(
            {
                "image_shape": list(service.image_shape),
                "classes": service.classes,
                "class_names": list(service.class_names),
                "answers": service.answers,
                "largest_batch": service.largest_batch,
                "puzzle": service.puzzle.name,
                "parts": service.puzzle.parts,
            }
        )

    async def healthz(self) -> Response:
        """Answer GET /healthz: say whether the ledger and the model answer."""
        await self.in_thread(self.gate.ledger.check)
        self.model.check()
        return JSONResponse({"status": "ok"})

    async def exposition(self) -> Response:
        """Answer GET /metrics: give the counts for Prometheus."""
        return Response(self.metrics.exposition(), media_type=Metrics.MEDIA_TYPE)

    async def in_thread(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return what a call of the ledger gives, made in a thread."""
        called = partial(call, *arguments, **named)
        return await anyio.to_thread.run_sync(called, limiter=self._ledger_calls)

    async def _ledger(self, is_quick: bool, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return what a call of the ledger gives, made here if all of it is quick, else in a thread."""
        if is_quick and self.gate.ledger.at_once:
            with suppress(Busy), self.gate.ledger.in_haste():
                return call(*arguments, **named)
        return await self.in_thread(call, *arguments, **named)

    def _body_limit(self, kind: str) -> int:
        service = self.gate.service
        return body_limit(service.image_shape, service.largest_batch, kind)

    def _admitted(
        self, account: Account, body: bytes, kind: str, attempt: Attempt | None
    ) -> tuple[bytes, np.ndarray] | Signed:
        """Admit a request, before its images are decoded: bad bodies count. Return its id and its images."""
        admitted = self.gate.admit(account, attempt)
        if isinstance(admitted, Signed):
            return admitted
        service = self.gate.service
        try:
            return admitted, decode(body, kind, service.image_shape, service.largest_batch)
        except BaseException:
            self.gate.give_up(admitted)
            raise

    async def _charged(self, account: Account, id: bytes, images: np.ndarray) -> Asked:
        """Have the model answer an admitted request's images, and return the challenge for the answers."""
        probabilities, revealed = await self.model(images)
        answer = (account.name, id, images, probabilities, revealed)
        return await self._ledger(probabilities.size <= QUICK_NUMBERS, self.gate.ask, *answer)

    async def _paid(self, account: Account, solution: Solution) -> bytes:
        """Check a solution, in turn where that takes long, and return the answer that it releases."""

        def released() -> bytes:
            challenge = self.gate.check(account.name, solution.challenge, solution.nonces)
            return self.gate.release(challenge, account.limits(self.gate.service.limits))

        puzzle = self.gate.service.puzzle
        if not puzzle.kind.memory_hard and puzzle.parts <= QUICK_PARTS:
            return await self._ledger(True, released)
        async with self.checks(account.name):
            return await anyio.to_thread.run_sync(released)

    async def _account(self, request: Request) -> Account:
        """Return the account whose API key the request bears."""
        key = key_in(request.headers)
        if not key:
            raise Problem("no_key", "an API key is needed: Authorization: Bearer KEY")
        account = await self._ledger(True, self._found, key)
        if account is None:
            self.count_stranger(request)
            raise Problem("unknown_key", "the API key is not known")
        request.state.account = account.name
        if account.disabled:
            raise Problem("disabled", "the account is disabled; ask who runs this gate")
        return account

    def _found(self, key: str) -> Account | None:
        return self.gate.ledger.find_account(key_digest(key))

    def _count_asked(self, images: int, signed: Signed) -> None:
        self.metrics.issued.inc()
        self.metrics.queries.inc(images)
        self.metrics.work.inc(signed.puzzle.expected_hashes)


def _attempt(request: Request, body: bytes, kind: str) -> Attempt | None:
    """The attempt that a request says it is, if any; raises Problem for a key that can be none."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not ATTEMPT.fullmatch(key):
        raise Problem("malformed", "an Idempotency-Key is 1 to 64 letters, digits, _ or -")
    return Attempt(key, hashlib.sha256(kind.encode() + b"\n" + body).digest())


def _challenge_content(signed: Signed) -> dict[str, Any]:
    """Return the body that tells a client what to solve."""
    challenge, puzzle = signed.challenge, signed.puzzle
    return {
        "type": "urn:tollgate:work_required",
        "title": "work required",
        "status": 402,
        "detail": f"solve the puzzle, some {puzzle.expected_hashes:,.0f} hashes, and redeem it",
        "reason": "work_required",
        "challenge": signed.token,
        "query": challenge.query,
        "expires": challenge.expires,
        "puzzle": {
            "kind": puzzle.kind,
            "challenge": puzzle.challenge.hex(),
            "difficulty": puzzle.difficulty,
            "parts": puzzle.parts,
            "options": dict(challenge.options),
            "expected_hashes": puzzle.expected_hashes,
            "largest": puzzle.largest.hex(),
        },
    }
