"""The ledger that the `server` options name, and the first account in it."""

from __future__ import annotations

from experiment.keys import Config
from gate.api_keys import new_account
from gate.ledgers.base import Ledger
from gate.ledgers.open import open_ledger
from gate.ledgers.sqlite import Synchronous
from storage.errors import InputError
from storage.options import check_choice


def server_ledger(server: Config) -> Ledger:
    """The ledger; raises InputError naming the option where it cannot be opened as told."""
    try:
        check_choice("server.synchronous", server["synchronous"], Synchronous)
    except ValueError as error:
        raise InputError(str(error)) from error
    try:
        return open_ledger(server["ledger"], server["synchronous"])
    except (ValueError, OSError) as error:
        raise InputError(f"server.ledger={server['ledger']}: {error}") from error


def first_key(server: Config) -> str | None:
    """The key of the first account, where the ledger does not have that account yet."""
    ledger = server_ledger(server)
    try:
        return new_account(ledger, server["account"])
    except ValueError:
        return None
    finally:
        ledger.close()
