"""The accounts of a gate, given by its ledger: a file, or redis://HOST:PORT/NUMBER."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from gate.api_keys import new_account
from gate.ledgers.open import open_ledger


def add(ledger: str, account: str) -> str:
    """Add an account; returns its API key, which is kept nowhere. Raises ValueError for a taken name."""
    with closing(open_ledger(ledger)) as opened:
        return new_account(opened, account)


def remove(ledger: str, account: str) -> None:
    """Remove an account, whose key is refused from then on. Raises ValueError where there is none."""
    if "://" not in ledger and not Path(ledger).exists():
        raise ValueError(f"--ledger {ledger}: there is no such ledger")
    with closing(open_ledger(ledger)) as opened:
        if not opened.remove_account(account):
            raise ValueError(f"there is no account {account!r}")
