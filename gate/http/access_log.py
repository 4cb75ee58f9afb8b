"""The access log counts each request and writes one line for it, without the request's content."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gate.http.metrics import Metrics

log = logging.getLogger("tollgate.gate")


class AccessLog:
    """ASGI middleware, around the whole application, that counts and logs each request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count and log it when its response starts."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(scope, message["status"], time.perf_counter() - started)
            await send(message)

        await self.app(scope, receive, noted)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        endpoint, state = getattr(scope.get("route"), "path", "none"), scope.get("state", {})
        self.metrics.requests.labels(endpoint, str(status)).inc()
        fields = {name: state.get(name) for name in ("account", "reason")} | state.get("noted", {})
        log.info(
            "request",
            extra={"endpoint": endpoint, "status": status, "seconds": round(seconds, 6), **fields},
        )


class JsonLines(logging.Formatter):
    """Formats each log record as one line of JSON."""

    FIELDS = ("endpoint", "status", "account", "reason", "seconds", "images", "cost", "difficulty")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        line: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        fields = {name: getattr(record, name, None) for name in self.FIELDS}
        line |= {name: value for name, value in fields.items() if value is not None}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)
