"""Checks of the `server` options, before anything is trained or bound."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from experiment.keys import Config
from experiment.serving.ledger import Totals, server_ledger
from gate.api_keys import check_name
from gate.gate import AnswerKind
from storage.errors import InputError
from storage.options import check_choice, check_inside, check_number

WHOLE = {
    "workers": 1,
    "top_k": 1,
    "spread": 1,
    "pending": 1,
    "requests_a_minute": 1,
    "openings": 1,
    "strangers_a_minute": 1,
    "connections": 1,
    "connections_an_address": 1,
}
"""Options that are whole numbers, with the least valid value."""

MOST_PORT, MOST_WORKERS, MOST = 65535, 256, 10**9
LEAST_SECONDS = 1e-3


def check_server(server: Config) -> None:
    """Raise InputError, naming the option, for what the server cannot run with.

    It makes the ledger where there is none.
    """
    try:
        _check_numbers(server)
        check_choice("server.answers", server["answers"], AnswerKind)
        check_choice("server.totals", server["totals"], Totals)
        if not isinstance(server["open_accounts"], bool):
            raise ValueError(f"server.open_accounts must be true or false, not {server['open_accounts']!r}")
        if not isinstance(server["host"], str):
            raise ValueError(f"server.host must be a name or an address, not {server['host']!r}")
    except ValueError as error:
        raise InputError(str(error)) from error
    _named(server, "account", check_name, server["account"])
    _named(server, "trusted_proxies", _check_proxies, server["trusted_proxies"])
    if server["metrics_bind"] is not None:
        _named(server, "metrics_bind", split_address, server["metrics_bind"])
    server_ledger(server).close()


def _check_numbers(server: Config) -> None:
    check_number("server.port", server["port"], 0, MOST_PORT, whole=True)
    for name, least in WHOLE.items():
        check_number(f"server.{name}", server[name], least, MOST_WORKERS if name == "workers" else MOST, True)
    if server["load_target"] is not None:
        check_inside("server.load_target", server["load_target"], 0, 1)
    for name in ("lifetime", "model_seconds"):
        check_number(f"server.{name}", server[name], LEAST_SECONDS, MOST)


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
