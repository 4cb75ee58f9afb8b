"""Strangers, who show no key, may make so many requests a minute from one address."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gate.api_keys import key_in
from gate.http.bodies import is_ambiguous
from gate.problems import Problem

ADDRESSES = 10_000
"""Addresses that are remembered; beyond, those are forgotten that were seen first."""

IPV6_NETWORK = 64
"""Bits of an IPv6 address that its owner cannot choose."""

MINUTE = 60.0


class Strangers:
    """Counts the requests of each address that come without a key.

    Args:
        requests_a_minute: Requests of an address in a minute; further ones are refused.
        clock: Gives seconds.
    """

    def __init__(self, requests_a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.clock = requests_a_minute, clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, request: Request) -> None:
        """Count a request; raise Problem where its address has made too many."""
        address, now = address_of(request), self.clock()
        since, count = self._counts.pop(address, (now, 0))
        if now - since >= MINUTE:
            since, count = now, 0
        self._counts[address] = (since, count + 1)
        if len(self._counts) > ADDRESSES:
            self._counts.popitem(last=False)
        if count >= self.limit:
            detail = f"{self.limit} requests a minute are allowed without an account"
            raise Problem("too_many_requests", detail, retry_after=MINUTE - (now - since))


ASKED_WITH_A_KEY = frozenset({("GET", "/v1/model"), ("POST", "/v1/predict"), ("POST", "/v1/redeem")})
"""Requests whose endpoints look the key up, and count whose is not known."""


class StrangersFirst:
    """ASGI middleware that counts each request, whatever it asks for, before it is answered.

    Those are left out whose key will be looked up; a key that nobody looks at proves nothing.

    Args:
        app: The application.
        strangers: Counts them.
        refuse: Turns a Problem into its response.
    """

    def __init__(
        self,
        app: ASGIApp,
        strangers: Strangers,
        refuse: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        self.app, self.strangers, self.refuse = app, strangers, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            try:
                self._check(request)
            except Problem as problem:
                response = await self.refuse(request, problem)
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check(self, request: Request) -> None:
        """Count a request that shows no key; raise Problem for one of which nobody knows where it ends."""
        if (request.method, request.url.path) not in ASKED_WITH_A_KEY or not key_in(request.headers):
            self.strangers.count(request)
        if is_ambiguous(request):
            raise Problem("malformed", "a body has a Content-Length or a Transfer-Encoding, not both")


def address_of(request: Request) -> str:
    """The address that a request comes from, or the network that its sender can choose addresses of."""
    return network_of(request.client.host if request.client else "")


def network_of(host: str) -> str:
    """An IPv6 address's network of 64 bits; an IPv4 address, however it is written; else nothing."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_NETWORK), strict=False))
