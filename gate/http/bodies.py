"""Bodies are read up to a limit, within a time; of what nobody asked for, little is read."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.requests import Request

from gate.problems import Problem

BODY_SECONDS = 15.0
"""Seconds that a client may take to send a body."""

DROPPED_BYTES = 8 * 2**20
DROPPED_SECONDS = 2.0
"""What is read, and dropped, of a refused request's body: a client that is still sending sees no refusal."""

READ = "body_read"
"""What a request's state calls that its body was read to its end."""


async def read_body(request: Request, limit: int) -> bytes:
    """Read a body; raise Problem if it has more bytes than `limit` or takes longer than BODY_SECONDS."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unknown_format", "a body must not be compressed (Content-Encoding)")
    if declared(request) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while not _is_read(request):
                parts.append(await _part(request))
                size += len(parts[-1])
                if size > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise Problem("slow_body", f"a body must arrive within {BODY_SECONDS:g} seconds") from None
    return b"".join(parts)


async def drop_body(request: Request) -> bool:
    """Read what is left of a refused request's body, within bounds; return whether that was all of it."""
    if declared(request) > DROPPED_BYTES:
        return False
    size = 0
    with suppress(TimeoutError, Problem):
        async with asyncio.timeout(DROPPED_SECONDS):
            while not _is_read(request) and size <= DROPPED_BYTES:
                size += len(await _part(request))
    return _is_read(request)


async def _part(request: Request) -> bytes:
    """Receive the next part of a body; raise Problem where it broke off."""
    message = await request.receive()
    if message["type"] != "http.request":
        raise Problem("malformed", "the body broke off")
    if not message.get("more_body", False):
        setattr(request.state, READ, True)
    part: bytes = message.get("body", b"")
    return part


def _is_read(request: Request) -> bool:
    return bool(getattr(request.state, READ, False))


def declared(request: Request) -> int:
    """The length of the body, as its sender declares it; 0 where it does not."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def is_ambiguous(request: Request) -> bool:
    """Whether a body's end is told in two ways: a proxy before this host may take another one for its end."""
    return {"content-length", "transfer-encoding"} <= set(request.headers.keys())


def _too_large(limit: int) -> Problem:
    return Problem("too_large", f"a body here has at most {limit:,} bytes")
