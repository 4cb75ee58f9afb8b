"""Checks of the `server` options, before anything is trained or bound."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Annotated, TypedDict

from experiment.keys import Config
from experiment.serving.ledger import Totals, server_ledger
from gate.api_keys import check_name
from gate.gate import AnswerKind
from gate.ledgers.sqlite import Synchronous
from storage.errors import InputError
from storage.typed import Bounds, Part, check_types

MOST_PORT = 65535

Many = Annotated[int, Bounds(1, 10**9)]
Seconds = Annotated[float, Bounds(1e-3, 1e9)]


class ServerOptions(TypedDict):
    """How a victim is served (conf/serve.yaml)."""

    host: str
    port: Annotated[int, Bounds(0, MOST_PORT)]
    workers: Annotated[int, Bounds(1, 256)]
    answers: AnswerKind
    top_k: Many
    account: str
    ledger: str
    synchronous: Synchronous
    totals: Totals
    lifetime: Seconds
    slowest_device: str
    spread: Many
    open_accounts: bool
    openings: Many
    pending: Many
    requests_a_minute: Many
    strangers_a_minute: Many
    connections: Many
    connections_an_address: Many
    trusted_proxies: list[str]
    model_seconds: Seconds
    load_target: Part | None
    metrics_bind: str | None


def check_server(server: Config) -> None:
    """Raise InputError, naming the option, for what the server cannot run with.

    It makes the ledger where there is none.
    """
    _named(server, "trusted_proxies", _check_proxies, server["trusted_proxies"])
    if server["metrics_bind"] is not None:
        _named(server, "metrics_bind", split_address, server["metrics_bind"])
    try:
        check_types(server, "server", ServerOptions)
    except ValueError as error:
        raise InputError(str(error)) from error
    _named(server, "account", check_name, server["account"])
    server_ledger(server).close()


def _named(server: Config, option: str, check: Callable[..., object], value: object) -> None:
    """Say what is wrong with an option's value in the words of its own check."""
    try:
        check(value)
    except (ValueError, OSError) as error:
        raise InputError(f"server.{option}={server[option]}: {error}") from error


def _check_proxies(proxies: object) -> None:
    if not isinstance(proxies, list):
        raise ValueError("it must be a list of addresses or networks, such as [127.0.0.1,10.0.0.0/8]")
    for proxy in proxies:
        ipaddress.ip_network(proxy)


def split_address(address: object) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, such as 127.0.0.1:9100 or [::1]:9100; raises ValueError."""
    host, colon, port = str(address).rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= MOST_PORT):
        raise ValueError("it must be HOST:PORT, such as 127.0.0.1:9100")
    return host.strip("[]"), int(port)


def url_of(bound: socket.socket) -> str:
    """The URL of what listens on a socket; a machine's every address is its own."""
    host, port = bound.getsockname()[:2]
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def bind(host: str, port: int, option: str = "") -> socket.socket:
    """Bind a port and listen, so that nobody else takes it; raises InputError where somebody has.

    Who connects before the server runs waits for it. `option` is how a mistake names the address.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        named = option or f"server.host={host} server.port={port}"
        raise InputError(f"{named}: {error.strerror or error}") from error
    bound.set_inheritable(True)  # workers serve it
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each answer waits 40 ms for more to send
    return bound
