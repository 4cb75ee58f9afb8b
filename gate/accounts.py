"""The accounts and signing keys of a gate.

python -m gate.accounts add NAME --ledger FILE_OR_URL      prints the account's API key, once
python -m gate.accounts remove NAME --ledger FILE_OR_URL   its key is no longer accepted
python -m gate.accounts rotate-keys --keys FILE [--keep 1]   a new signing key; servers load it at start
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from gate.api_keys import new_account
from gate.challenges import rotate_keys
from gate.ledgers.open import open_ledger


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("add", "remove"):
        command = commands.add_parser(name)
        command.add_argument("account")
        command.add_argument("--ledger", default="store/gate/ledger.sqlite")
    rotate = commands.add_parser("rotate-keys")
    rotate.add_argument("--keys", type=Path, default=Path("store/gate/keys"))
    rotate.add_argument("--keep", type=int, default=1, help="old keys whose challenges stay valid")
    options = parser.parse_args()
    if options.command == "rotate-keys":
        rotate_keys(options.keys, options.keep)
        return
    try:
        with closing(open_ledger(options.ledger)) as ledger:
            if options.command == "add":
                print(new_account(ledger, options.account))
            elif not ledger.remove_account(options.account):
                raise ValueError(f"there is no account {options.account!r}")
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
