"""The HTTP application puts a model, any function from images to probabilities, behind the gate.

    app = create_app(predict, meter, service, ledger, keyring)

`POST /v1/predict` with images gives 402 and a challenge, `POST /v1/redeem` with its solution the answer.
Where strangers may open accounts, `POST /v1/accounts` and `POST /v1/accounts/redeem` do the same for a key.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gate import openapi
from gate.access_log import AccessLog
from gate.api_keys import key_digest
from gate.batching import Batcher, Full, Predict, fitted
from gate.challenges import TOKEN_LIMIT, Keyring
from gate.gate import Asked, Gate, Service
from gate.ledgers.base import Ledger
from gate.meters import GateMeter
from gate.metrics import Metrics
from gate.payloads import body_limit, decode
from gate.problems import Problem, first_fault
from pow.puzzles.base import MOST_PARTS, NONCES

log = logging.getLogger("tollgate.gate")

P = ParamSpec("P")
T = TypeVar("T")

Endpoint = Callable[..., Awaitable[Response]]

PAGE = Path(__file__).parent / "page"
PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(
        ["default-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    ),
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
PROBLEM_JSON = "application/problem+json"
BODY_SECONDS = 15.0
"""Seconds that a client may take to send a body."""

SWEEP_SECONDS = 30.0
"""Seconds between two sweeps of the ledger."""

CHECKS_AT_ONCE = 8
"""Solutions of accounts that are checked at a time; each takes a memory-hard puzzle's memory."""

STRANGERS_AT_ONCE = 1
STRANGERS_WAITING = 16
"""Solutions of strangers that are checked at a time, and that wait; further ones are refused. Nobody needs a
key to send them, so they must not take the threads that accounts need."""

BATCHES_WAITING = 16
"""Number of largest batches that may wait for the model; further requests are refused."""


class Solution(BaseModel):
    """The body of a redemption: a challenge's token, and a nonce for each part of its puzzle."""

    model_config = ConfigDict(strict=True, extra="forbid")

    challenge: str = Field(max_length=TOKEN_LIMIT)
    nonces: list[Annotated[int, Field(ge=0, lt=NONCES)]] = Field(max_length=MOST_PARTS)


REDEEM_LIMIT = 2 * TOKEN_LIMIT + MOST_PARTS * (len(str(NONCES)) + 4)
"""Most bytes of a body with a solution."""


def create_app(
    predict: Predict,
    meter: GateMeter,
    service: Service,
    ledger: Ledger,
    keyring: Keyring,
    *,
    defended: bool = False,
) -> FastAPI:
    """Make the application, which closes the ledger when it shuts down. The model is tried first.

    Args:
        predict: The model. One that takes a single image at a time is asked so.
        meter: Measures what its answers reveal.
        service: What is served, and for what work.
        ledger: Accounts, totals and answers.
        keyring: Signs challenges.
        defended: Whether defenses change the answers, which need not sum to 1 then.

    Raises:
        ValueError: The model does not take the service's images, or answers no probabilities of its classes.
    """
    gate = Gate(service, meter, ledger, keyring)
    model = fitted(predict, service.image_shape, service.classes, defended)
    return _Application(model, gate).app


class _Application:
    """Serves one gate over HTTP."""

    def __init__(self, predict: Predict, gate: Gate) -> None:
        self.predict, self.gate, self.metrics = predict, gate, Metrics()
        service = gate.service
        self.batcher = Batcher(self._evaluate, service.largest_batch, BATCHES_WAITING * service.largest_batch)
        self.checks = _Checks(CHECKS_AT_ONCE, math.inf)  # as many as there are connections
        self.strangers = _Checks(STRANGERS_AT_ONCE, STRANGERS_WAITING)
        self.body_limit = body_limit(service.image_shape, service.largest_batch)
        self.app = _DocumentedApp(
            title="Tollgate",
            description="A model whose answers are paid for with work.",
            version="1",
            lifespan=self._lifespan,
            openapi_url="/openapi.json",
            docs_url=None,  # FastAPI's pages load their scripts from elsewhere
            redoc_url=None,
        )
        self._add_routes()

    def _add_routes(self) -> None:
        app, service = self.app, self.gate.service
        routes: list[tuple[str, Endpoint, str, dict[str, Any]]] = [
            ("/v1/predict", self.ask, "POST", openapi.predict(service)),
            ("/v1/redeem", self.redeem, "POST", openapi.redeem(service)),
            ("/v1/model", self.model, "GET", openapi.model()),
            ("/healthz", self.healthz, "GET", openapi.healthz()),
            ("/metrics", self.exposition, "GET", openapi.metrics()),
        ]
        if service.open_accounts:
            routes += [
                ("/v1/accounts", self.ask_account, "POST", openapi.ask_account(service)),
                ("/v1/accounts/redeem", self.open_account, "POST", openapi.open_account()),
            ]
        for path, handler, method, document in routes:
            app.add_api_route(path, _guarded(handler), methods=[method], response_model=None, **document)
        app.add_api_route("/", self.page, methods=["GET"], include_in_schema=False)
        app.mount("/page", _PageFiles(directory=PAGE), name="page")
        app.add_exception_handler(Problem, self._refuse)
        app.add_exception_handler(HTTPException, self._refuse_route)
        app.add_middleware(AccessLog, metrics=self.metrics)

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeper.cancel()
            await self.batcher.close()
            await run_in_threadpool(self.gate.ledger.close)

    async def _sweep(self) -> None:
        """Sweep the ledger from time to time; after an error, log it and go on."""
        while True:
            try:
                await run_in_threadpool(self.gate.ledger.sweep, self.gate.clock())
            except Exception:
                log.exception("sweeping failed")
            await asyncio.sleep(SWEEP_SECONDS)

    # The endpoints

    async def ask(self, request: Request) -> Response:
        """Answer POST /v1/predict: price a query, keep its answer and issue a challenge."""
        account = await self._account(request)
        body = await _read_body(request, self.body_limit)
        id = await run_in_threadpool(self.gate.admit, account)  # before decoding: bad bodies count
        try:
            asked = await self._challenge(account, id, body, request.headers.get("content-type", ""))
        except BaseException:
            await asyncio.shield(run_in_threadpool(self.gate.give_up, id))
            raise
        return JSONResponse(_challenge_content(asked), 402, media_type=PROBLEM_JSON)

    async def redeem(self, request: Request) -> Response:
        """Answer POST /v1/redeem: give the answer for a solution."""
        account = await self._account(request)
        solution = await _read_solution(request)
        answer = await self.checks(self._redeemed, account, solution)
        self.metrics.solved.inc()
        return Response(answer, media_type="application/json")

    async def ask_account(self, request: Request) -> Response:
        """Answer POST /v1/accounts: issue a challenge for a new account."""
        await _read_body(request, 0)
        asked = await run_in_threadpool(self.gate.ask_account)
        self._count_asked(0, asked)
        content = _challenge_content(asked)
        del content["query"]
        content["account"] = asked.signed.challenge.account
        return JSONResponse(content, 402, media_type=PROBLEM_JSON)

    async def open_account(self, request: Request) -> Response:
        """Answer POST /v1/accounts/redeem: open an account for a solution."""
        solution = await _read_solution(request)
        opened = await self.strangers(self.gate.open_account, solution.challenge, solution.nonces)
        request.state.account = opened[0]
        self.metrics.solved.inc()
        content = dict(zip(("account", "key"), opened, strict=True))
        return JSONResponse(content, 201, {"Cache-Control": "no-store"})

    async def model(self) -> Response:
        """Answer GET /v1/model: say what is served."""
        service = self.gate.service
        return JSONResponse(
            {
                "image_shape": list(service.image_shape),
                "classes": service.classes,
                "answers": service.answers,
                "largest_batch": service.largest_batch,
                "puzzle": service.puzzle.name,
                "parts": service.puzzle.parts,
            }
        )

    async def healthz(self) -> Response:
        """Answer GET /healthz: say whether the ledger answers."""
        try:
            await run_in_threadpool(self.gate.ledger.find_account, b"nobody")
        except Exception as error:
            log.exception("the ledger does not answer")
            raise Problem("busy", "the ledger does not answer", retry_after=5) from error
        return JSONResponse({"status": "ok"})

    async def exposition(self) -> Response:
        """Answer GET /metrics: give the counts for Prometheus."""
        return Response(self.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def page(self) -> Response:
        """Answer GET /: give the page for people."""
        return FileResponse(PAGE / "index.html", headers=PAGE_HEADERS)

    # What they share

    async def _challenge(self, account: str, id: bytes, body: bytes, kind: str) -> Asked:
        """Have the model answer a body's images, and return the challenge for the answers."""
        service = self.gate.service
        images = await run_in_threadpool(decode, body, kind, service.image_shape, service.largest_batch)
        started = time.perf_counter()
        try:
            probabilities, revealed = await self.batcher(images)
        except Full:
            raise Problem("busy", "too many queries wait for the model", retry_after=1) from None
        self.metrics.inference.observe(time.perf_counter() - started)
        asked = await run_in_threadpool(self.gate.ask, account, id, images, probabilities, revealed)
        self._count_asked(len(images), asked)
        return asked

    def _redeemed(self, account: str, solution: Solution) -> bytes:
        """Check a solution and return the answer that it releases."""
        return self.gate.release(self.gate.check(account, solution.challenge, solution.nonces))

    def _evaluate(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities float32 `[n, classes]`, and what they reveal, float64 `[n, d]`."""
        probabilities = self.predict(images)
        return probabilities, self.gate.meter.reveal(images, probabilities)

    async def _account(self, request: Request) -> str:
        """Return the account whose API key the request bears."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Problem("no_key", "an API key is needed: Authorization: Bearer KEY")
        account = await run_in_threadpool(self.gate.ledger.find_account, key_digest(key.strip()))
        if account is None:
            raise Problem("unknown_key", "the API key is not known")
        request.state.account = account
        return account

    def _count_asked(self, images: int, asked: Asked) -> None:
        self.metrics.issued.inc()
        self.metrics.queries.inc(images)
        self.metrics.work.inc(asked.seconds)

    async def _refuse(self, request: Request, problem: Exception) -> Response:
        """Turn a Problem into its response, and count it."""
        assert isinstance(problem, Problem)
        self.metrics.refusals.labels(problem.reason).inc()
        request.state.reason = problem.reason
        headers = {}
        if problem.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(problem.retry_after)))
        if problem.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if problem.reason in ("slow_body", "too_large"):
            headers["Connection"] = "close"  # nobody waits for the rest of the body
        return JSONResponse(problem.content(), problem.status, headers, PROBLEM_JSON)

    async def _refuse_route(self, request: Request, error: Exception) -> Response:
        """Refuse an unknown path or method in the same format."""
        assert isinstance(error, HTTPException)
        reason = "method_not_allowed" if error.status_code == 405 else "not_found"
        response = await self._refuse(request, Problem(reason, f"{request.method} {request.url.path}"))
        response.headers.update(error.headers or {})
        return response


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Make an endpoint log an exception and refuse the request; raised on, it would cut the connection."""

    @wraps(endpoint)
    async def guarded(*arguments: Any, **named: Any) -> Response:
        try:
            return await endpoint(*arguments, **named)
        except Problem:
            raise
        except Exception as error:
            log.exception("a request failed")
            raise Problem("failure", "something went wrong here; it is logged") from error

    return guarded


class _Checks:
    """Carries out so many checks of solutions at a time, and lets so many wait."""

    def __init__(self, at_once: int, waiting: float) -> None:
        self._places, self._left = asyncio.Semaphore(at_once), at_once + waiting

    async def __call__(self, check: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Return what `check` does, called in a thread; raise Problem if too many wait."""
        if self._left < 1:
            raise Problem("busy", "too many solutions wait to be checked", retry_after=1)
        self._left -= 1
        try:
            async with self._places:
                return await run_in_threadpool(check, *arguments, **named)
        finally:
            self._left += 1


class _DocumentedApp(FastAPI):
    """An application whose OpenAPI document says how to send an API key."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document.setdefault("components", {})["securitySchemes"] = openapi.SCHEMES
        return document


class _PageFiles(StaticFiles):
    """The page's scripts and styles, with its headers."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(PAGE_HEADERS)
        return response


async def _read_body(request: Request, limit: int) -> bytes:
    """Read a body; raise Problem if it has more bytes than `limit` or takes longer than BODY_SECONDS.

    A body that is too large is read to its end and dropped, because a client that is still sending would not
    see the refusal.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size <= limit:
                    parts.append(part)
                else:
                    parts.clear()
    except ClientDisconnect:
        raise Problem("malformed", "the body broke off") from None
    except TimeoutError:
        reason = "slow_body" if size <= limit else "too_large"
        raise Problem(reason, f"a body must arrive within {BODY_SECONDS:g} seconds") from None
    if size > limit:
        raise Problem("too_large", f"a body here has at most {limit:,} bytes")
    return b"".join(parts)


async def _read_solution(request: Request) -> Solution:
    """Read the body of a redemption; raise Problem where it is anything else."""
    body = await _read_body(request, REDEEM_LIMIT)
    try:
        return Solution.model_validate_json(body)
    except ValidationError as error:
        where, fault = first_fault(error)
        raise Problem("invalid_solution", f"{where or 'body'}: {fault}") from None


def _challenge_content(asked: Asked) -> dict[str, Any]:
    """Return the body that tells a client what to solve."""
    challenge, puzzle = asked.signed.challenge, asked.signed.puzzle
    return {
        "type": "urn:tollgate:work_required",
        "title": "work required",
        "status": 402,
        "detail": f"solve the puzzle, some {puzzle.expected_hashes:,.0f} hashes, and redeem it",
        "reason": "work_required",
        "challenge": asked.signed.token,
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
