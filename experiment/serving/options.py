"""Checks of the `server` options, before anything is trained or bound."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from experiment.keys import Config
from experiment.serving.ledger import server_ledger
from gate.api_keys import check_name
from gate.challenges import load_keyring
from gate.gate import AnswerKind
from storage.errors import InputError
from storage.options import check_choice, check_number

WHOLE = {
    "workers": 1,
    "top_k": 1,
    "spread": 1,
    "pending": 1,
    "requests_a_minute": 1,
    "openings": 1,
    "connections": 1,
}
"""Options that are whole numbers, with the least valid value."""

MOST_PORT, MOST_WORKERS, MOST = 65535, 256, 10**9
LEAST_SECONDS = 1e-3


def check_server(server: Config) -> None:
    """Raise InputError, naming the option, for what the server cannot run with.

    It makes the ledger and the signing keys where there are none.
    """
    try:
        _check_numbers(server)
        check_choice("server.answers", server["answers"], AnswerKind)
        if not isinstance(server["open_accounts"], bool):
            raise ValueError(f"server.open_accounts must be true or false, not {server['open_accounts']!r}")
        if not isinstance(server["host"], str):
            raise ValueError(f"server.host must be a name or an address, not {server['host']!r}")
    except ValueError as error:
        raise InputError(str(error)) from error
    _named(server, "account", check_name, server["account"])
    _named(server, "keys", load_keyring, Path(str(server["keys"])))
    server_ledger(server).close()


def _check_numbers(server: Config) -> None:
    check_number("server.port", server["port"], 0, MOST_PORT, whole=True)
    for name, least in WHOLE.items():
        check_number(f"server.{name}", server[name], least, MOST_WORKERS if name == "workers" else MOST, True)
    for name in ("lifetime", "patience"):
        check_number(f"server.{name}", server[name], LEAST_SECONDS, MOST)


def _named(server: Config, option: str, check: Callable[..., object], value: object) -> None:
    """Say what is wrong with an option's value in the words of its own check."""
    try:
        check(value)
    except (ValueError, OSError) as error:
        raise InputError(f"server.{option}={server[option]}: {error}") from error


def bind(server: Config) -> socket.socket:
    """Bind the server's port and listen, so that nobody else takes it; raises InputError where somebody has.

    Who connects before the server runs waits for it.
    """
    host, port = server["host"], server["port"]
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(f"server.host={host} server.port={port}: {error.strerror or error}") from error
    bound.set_inheritable(True)  # workers serve it
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each answer waits 40 ms for more to send
    return bound
