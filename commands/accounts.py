"""The accounts and signing keys of a gate.

add NAME prints the account's API key, once. After remove NAME its key is no longer accepted. export prints
what accounts have asked under a progressive toll: totals, as `tollgate calibrate` reads them, and no images.
rotate-keys makes a new signing key, which servers load at their next start. open URL opens an account by work
at a gate of somebody else, and prints its key.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from commands.parsing import HASHES, MAX_HASHES, packages_of, parser

MOST = "most that the account may cost"


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
    from gate.accounts import add, export, remove
    from gate.challenges import rotate_keys

    match options.command:
        case "add":
            print(add(options.ledger, options.account))
        case "remove":
            remove(options.ledger, options.account)
        case "export":
            print(export(options.ledger), end="")
        case "rotate-keys":
            rotate_keys(options.keys, options.keep)


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
    commands = parsing.add_subparsers(
        dest="command", required=True, metavar="add|remove|export|rotate-keys|open"
    )
    for name, what in (("add", "an account; prints its API key"), ("remove", "an account")):
        command = commands.add_parser(name, help=what)
        command.add_argument("account", metavar="NAME")
        command.add_argument("--ledger", default="store/gate/ledger.sqlite", help="a file, or redis://...")
    exported = commands.add_parser("export", help="totals of all accounts, as CSV")
    exported.add_argument("--ledger", default="store/gate/ledger.sqlite", help="a file, or redis://...")
    rotate = commands.add_parser("rotate-keys", help="a new signing key")
    rotate.add_argument("--keys", type=Path, default=Path("store/gate/keys"))
    rotate.add_argument("--keep", type=int, default=1, help="old keys whose challenges stay valid")
    opening = commands.add_parser("open", help="an account at a gate, by work; prints its API key")
    opening.add_argument("url", metavar="URL", help="of the gate, such as http://127.0.0.1:8000")
    opening.add_argument("--max-hashes", type=HASHES, default=MAX_HASHES, metavar="N", help=MOST)
    return parsing.parse_args(arguments)
