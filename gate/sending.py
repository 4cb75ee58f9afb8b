"""Requests are sent again under passing trouble, and what the gate says is read with distrust."""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from gate.steps import Call, Refused, Step

LARGEST_REPLY = 2**26
"""Bytes of a reply: a thousand images' probabilities of a thousand classes, as JSON, take a third of it."""

OF_A_BODY = {"content-encoding", "content-length", "transfer-encoding"}
"""Headers that say how a body was sent, not what it holds."""

RETRIED = {408, 409, 429, *range(500, 600)}
"""HTTP statuses after which a request is sent again; 409 says that the same one is being answered."""

FINAL = {"spent"}
"""Reasons after which it is not, whatever the status."""

IN_PROGRESS = "in_progress"
PATIENCE = 200.0
LONGEST_LOOK = 10.0
"""Seconds that a client waits, beside its retries, for a gate that is at the same request already, as long as
it holds that request's place with its usual options; and the longest of these waits."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds until a request is sent again: the first wait, which doubles each time, and the longest. A wait of
its own choice is shortened by up to half, at random, so that clients do not come back all at once."""


def send(call: Call, retries: int) -> Generator[Step, Any, httpx.Response]:
    """Send a request until the gate accepts it; raise Refused when it refuses or the retries are used up."""
    tries, patience = 0, PATIENCE
    while True:
        response: httpx.Response | Exception = yield call
        usual = FIRST_WAIT * 2.0 ** min(tries, 10) * random.uniform(0.5, 1.0)
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
            wait = max(usual, _retry_after(response, usual))
        if refusal.reason == IN_PROGRESS and patience > 0:
            retries += 1  # the gate is at it, and how often one asks changes nothing
            wait = min(wait, LONGEST_LOOK)
            patience -= wait
        if tries == retries:
            raise refusal
        tries += 1
        yield min(wait, LONGEST_WAIT)


def _retry_after(response: httpx.Response, usual: float) -> float:
    """Seconds to wait, which the header gives as a number or as a date; as usual where it gives neither."""
    text = response.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - gates_time(response))
    except (ValueError, TypeError, OverflowError):
        return usual


def gates_time(response: httpx.Response) -> float:
    """The time of a response by the clock that dated it, in seconds since 1970; else by our own."""
    try:
        return parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return time.time()


class Reply:
    """What arrives of a response, up to a limit: a hostile gate could send for ever."""

    def __init__(self, response: httpx.Response) -> None:
        self.response, self.parts, self.size = response, list[bytes](), 0

    def take(self, part: bytes) -> None:
        """Keep a part; raise Refused where that is more than any gate answers."""
        self.size += len(part)
        if self.size > LARGEST_REPLY:
            detail = f"a reply of more than {LARGEST_REPLY:,} bytes"
            raise Refused("no_gate", detail, self.response.status_code)
        self.parts.append(part)

    def whole(self) -> httpx.Response:
        """Return the response with all of its body."""
        told = self.response.headers.multi_items()
        headers = [(name, value) for name, value in told if name not in OF_A_BODY]
        status, request = self.response.status_code, self.response.request
        return httpx.Response(status, headers=headers, content=b"".join(self.parts), request=request)


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
    except (ValueError, KeyError, TypeError, RecursionError):
        return Refused("no_gate", f"status {response.status_code}, and no problem+json", response.status_code)
    return Refused(reason, detail, response.status_code)


def _printable(text: Any) -> str:
    """Return a stranger's text without what a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in str(text))


@contextmanager
def read_as_a_gates(response: httpx.Response) -> Iterator[None]:
    """Raise Refused where a response that was accepted cannot be read as a gate's."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        detail = f"status {response.status_code}, and not what a gate answers"
        raise Refused("no_gate", detail, response.status_code) from error
