"""Whatever goes wrong becomes a refusal in one format, and is counted."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gate.http.bodies import drop_body, is_ambiguous
from gate.http.metrics import Metrics
from gate.ledgers.base import Unavailable
from gate.problems import PROBLEM_JSON, Problem

log = logging.getLogger("tollgate.gate")

Endpoint = Callable[..., Awaitable[Response]]


class Refusals:
    """Turns problems into responses, and counts them in `metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def add_to(self, app: FastAPI) -> None:
        """Have an application refuse so."""
        app.add_exception_handler(Problem, self.refuse)
        app.add_exception_handler(HTTPException, self.refuse_route)

    async def refuse(self, request: Request, problem: Exception) -> Response:
        """Turn a Problem into its response, and count it."""
        assert isinstance(problem, Problem)
        self.metrics.refusals.labels(problem.reason).inc()
        request.state.reason = problem.reason
        headers = {}
        if problem.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
        if problem.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if problem.reason == "slow_body" or is_ambiguous(request) or not await drop_body(request):
            headers["Connection"] = "close"  # nobody waits for the rest of the body
        return JSONResponse(problem.content(), problem.status, headers, PROBLEM_JSON)

    async def refuse_route(self, request: Request, error: Exception) -> Response:
        """Refuse an unknown path or method in the same format."""
        assert isinstance(error, HTTPException)
        reason = "method_not_allowed" if error.status_code == 405 else "not_found"
        response = await self.refuse(request, Problem(reason, f"{request.method} {request.url.path}"))
        response.headers.update(error.headers or {})
        return response


def guarded_endpoint(endpoint: Endpoint) -> Endpoint:
    """Make an endpoint log an exception and refuse the request; raised on, it would cut the connection."""

    @wraps(endpoint)
    async def guarded(*arguments: Any, **named: Any) -> Response:
        try:
            return await endpoint(*arguments, **named)
        except Problem:
            raise
        except Unavailable as error:
            log.warning("%s", error)
            raise Problem("busy", "the ledger cannot be used at the moment", retry_after=5) from error
        except Exception as error:
            log.exception("a request failed")
            raise Problem("failure", "something went wrong here; it is logged") from error

    return guarded
