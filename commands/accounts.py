"""The accounts and signing keys of a gate.

add NAME prints the account's API key, once. After remove NAME its key is no longer accepted; after disable
NAME not until enable NAME. list and show NAME tell what accounts have asked, limit NAME gives one limits of
its own, reset NAME forgets what it has asked. export prints what accounts have asked: totals, as
`tollgate calibrate` reads them, and no images. rotate-key makes a new signing key, which servers that run
take over within seconds. open URL opens an account by work at a gate of somebody else, and prints its key.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from commands.parsing import HASHES, MAX_HASHES, packages_of, parser

MOST = "most that the account may cost"
OF_ONE = {
    "add": "an account; prints its API key",
    "remove": "an account",
    "show": "an account",
    "disable": "an account: its key is refused",
    "enable": "a disabled account",
    "reset": "what an account has asked",
    "limit": "an account; without options, as the others again",
}
OF_ALL = {
    "list": "all accounts",
    "export": "totals of all accounts, as CSV",
    "rotate-key": "a new signing key",
}


def main(arguments: Sequence[str]) -> int:
    """Change accounts or keys; 1 with one clear sentence where that fails."""
    options = _parsed(arguments)
    if options.command == "open":
        return _open(options.url, options.max_hashes)
    try:
        with packages_of("gate"):  # which a ledger on a Redis server needs only when it is opened
            _carry_out(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _carry_out(options: argparse.Namespace) -> None:
    from gate import accounts

    ledger = options.ledger
    match options.command:
        case "add":
            print(accounts.add(ledger, options.account))
        case "remove":
            accounts.remove(ledger, options.account)
        case "list":
            _print_table(accounts.listed(ledger))
        case "show":
            _print_table([accounts.shown(ledger, options.account)])
        case "disable" | "enable":
            accounts.disable(ledger, options.account, options.command == "disable")
        case "limit":
            accounts.limit(ledger, options.account, options.pending, options.requests_a_minute)
        case "reset":
            accounts.reset(ledger, options.account)
        case "export":
            print(accounts.export(ledger), end="")
        case "rotate-key":
            accounts.rotate(ledger, options.keep)


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print a line for each account, whose columns are as wide as what is in them."""
    heads = ["account", "state", "queries", "gain", "last asked", "pending", "requests a minute"]
    lines = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cells(row: dict[str, Any]) -> list[str]:
    asked = row["last_asked"]
    when = "never" if asked is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(asked))
    limits = ["usual" if row[name] is None else str(row[name]) for name in ("pending", "requests_a_minute")]
    gain = "" if row["gain"] is None else f"{row['gain']:.1f}"
    state = "disabled" if row["disabled"] else "active"
    return [row["account"], state, str(row["queries"] or 0), gain, when, *limits]


def _open(url: str, max_hashes: float) -> int:
    from gate.client import Client, Refused, TooExpensive, Willing

    try:
        with Client(url, willing=Willing(max_hashes=max_hashes)) as client:
            opened = client.open_account()
    except (Refused, TooExpensive, ValueError) as error:
        closed = getattr(error, "reason", None) == "not_found"
        print(f"error: {'this gate opens no accounts' if closed else error}", file=sys.stderr)
        return 1
    print(f"account {opened.account}, API key (shown this once): {opened.key}")
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parsing = parser("accounts", __doc__)
    names = "|".join([*OF_ONE, *OF_ALL, "open"])
    commands = parsing.add_subparsers(dest="command", required=True, metavar=names)
    for name, what in (OF_ONE | OF_ALL).items():
        command = commands.add_parser(name, help=what)
        if name in OF_ONE:
            command.add_argument("account", metavar="NAME")
        command.add_argument("--ledger", default="store/gate/ledger.sqlite", help="a file, or redis://...")
        if name == "limit":
            command.add_argument("--pending", type=int, metavar="N", help="challenges that it may have open")
            command.add_argument("--requests-a-minute", type=int, metavar="N")
        if name == "rotate-key":
            command.add_argument("--keep", type=int, default=1, help="old keys whose challenges stay valid")
    opening = commands.add_parser("open", help="an account at a gate, by work; prints its API key")
    opening.add_argument("url", metavar="URL", help="of the gate, such as http://127.0.0.1:8000")
    opening.add_argument("--max-hashes", type=HASHES, default=MAX_HASHES, metavar="N", help=MOST)
    return parsing.parse_args(arguments)
