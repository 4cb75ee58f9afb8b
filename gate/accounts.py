"""The accounts of a gate, given by its ledger: a file, or redis://HOST:PORT/NUMBER."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from gate.api_keys import check_name, new_account
from gate.ledgers.open import using
from pow.tariff import Standing


def add(ledger: str, account: str) -> str:
    """Add an account; returns its API key, which is kept nowhere. Raises ValueError for a taken name."""
    check_name(account)  # before a ledger is made for it
    with using(ledger) as opened:
        return new_account(opened, account)


def export(ledger: str) -> str:
    """What each payer has asked under a progressive toll, as CSV: account, queries, gain, last_asked.

    The gain is in honest queries, the time in seconds since 1970. Raises ValueError where there is no ledger.
    """
    _check_exists(ledger)
    with using(ledger) as opened:
        standings = {payer: Standing.of(numbers) for payer, numbers in opened.kept().items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["account", "queries", "gain", "last_asked"])
    for payer, each in sorted(standings.items()):
        writer.writerow([payer, int(each.queries), f"{each.gain:.6f}", f"{each.at:.0f}"])
    return text.getvalue()


def remove(ledger: str, account: str) -> None:
    """Remove an account, whose key is refused from then on. Raises ValueError where there is none."""
    _check_exists(ledger)
    with using(ledger) as opened:
        if not opened.remove_account(account):
            raise ValueError(f"there is no account {account!r}")


def _check_exists(ledger: str) -> None:
    if "://" not in ledger and not Path(ledger).exists():
        raise ValueError(f"--ledger {ledger}: there is no such ledger")
