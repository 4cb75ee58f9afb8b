"""Connections that send nothing, or next to nothing, must not keep others out.

A connection is idle unless a request that came whole is being answered, however many bytes of a header or a
body it has sent, and so is one that does not take its answer. An idle connection is closed after a time,
and sooner where its place is needed: the one that has been idle longest goes first. So strangers can open
as many connections as they like, and take no place from anybody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from gate.http.strangers import network_of

IDLE_SECONDS = 18.0
"""Seconds that a connection may be idle: until a request's header, or its body, has come, and in between."""


@dataclass
class Connections:
    """The connections of a process.

    Args:
        most: Connections at a time.
        an_address: Connections of an address at a time.
        trusted: Addresses and networks that may have all, such as a proxy's.
        idle_seconds: Seconds that one may be idle.
    """

    most: int
    an_address: int
    trusted: frozenset[str] = frozenset()
    idle_seconds: float = IDLE_SECONDS
    by_address: Counter[str] = field(default_factory=Counter)
    idle: dict[GuardedProtocol, None] = field(default_factory=dict)
    """Idle connections, the longest idle one first."""

    def admits(self, connection: GuardedProtocol, address: str) -> bool:
        """Whether a new connection may stay; makes place for it where that takes another one's."""
        if self.by_address[address] >= self.an_address and not self.trusts(address):
            oldest = next((each for each in self.idle if each.address == address), None)
        elif self.by_address.total() >= self.most:
            oldest = next(iter(self.idle), None)
        else:
            return True
        if oldest is None:
            return False
        oldest.drop()
        return True

    def trusts(self, address: str) -> bool:
        """Whether an address, or a network of 64 bits, is a trusted one's."""
        try:
            own = ip_network(address)
            return any(own.version == it.version and own.subnet_of(it) for it in self._networks)  # type: ignore[arg-type]
        except ValueError:
            return False

    @cached_property
    def _networks(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(each) for each in self.trusted]

    def __call__(self, *arguments: Any, **named: Any) -> GuardedProtocol:
        """Make the protocol of a new connection; given to uvicorn's `http`."""
        return GuardedProtocol(self, *arguments, **named)


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol, for a connection that may be closed while it is idle."""

    def __init__(self, connections_here: Connections, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.here = connections_here
        self.address = ""
        self._counted = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, or close it where there is no place."""
        super().connection_made(transport)
        self.address = network_of(self.client[0] if self.client else "")
        if not self.here.admits(self, self.address):
            transport.abort()
            return
        self._counted = True
        self.here.by_address[self.address] += 1
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place back."""
        self._work()
        self._leave()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """See H11Protocol: where a request has begun, the connection is no longer idle."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self.cycle is not None and self.cycle.more_body:
            self._rest()  # its body has a time of its own
        self._work_if_it_may()

    def pause_writing(self) -> None:
        """See H11Protocol: who does not read its answer is idle."""
        super().pause_writing()
        self._rest()

    def resume_writing(self) -> None:
        """See H11Protocol."""
        super().resume_writing()
        self._work_if_it_may()

    def on_response_complete(self) -> None:
        """See H11Protocol: the connection is idle again."""
        self._rest()  # also where it closes: its answer may not be taken yet
        super().on_response_complete()

    def drop(self) -> None:
        """Close the connection, which is idle, at once."""
        self._work()
        self._leave()
        self.transport.abort()

    def _work_if_it_may(self) -> None:
        """Count the connection as at work while a whole request is answered and the answer is taken."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete or self.flow.write_paused:
            return
        self._work()

    def _rest(self) -> None:
        self._work()
        self.here.idle[self] = None
        self._deadline = self.loop.call_later(self.here.idle_seconds, self.drop)

    def _work(self) -> None:
        self.here.idle.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            self.here.by_address[self.address] -= 1
            if not self.here.by_address[self.address]:
                del self.here.by_address[self.address]
