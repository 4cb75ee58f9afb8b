"""The accounts and signing keys of a gate, given by its ledger: a file, or redis://HOST:PORT/NUMBER."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gate.api_keys import check_name, new_account
from gate.challenges import rotate_key
from gate.ledgers.base import Account, Ledger
from gate.ledgers.open import open_ledger
from pow.tariff import Standing
from storage.options import check_number

MOST = 10**9
"""The largest limit of an account: more than anybody asks, and what every ledger can hold."""


def add(ledger: str, account: str) -> str:
    """Add an account; returns its API key, which is kept nowhere. Raises ValueError for a taken name."""
    check_name(account)  # before a ledger is made for it
    with closing(open_ledger(ledger)) as opened:
        return new_account(opened, account)


def remove(ledger: str, account: str) -> None:
    """Remove an account, whose key is refused from then on. Raises ValueError where there is none."""
    with _existing(ledger) as opened:
        if not opened.remove_account(account):
            raise _unknown(account)


def listed(ledger: str) -> list[dict[str, Any]]:
    """What there is to tell of each account; see `shown`."""
    with _existing(ledger) as opened:
        standings = opened.standings()
        return [_row(account, standings) for account in opened.accounts()]


def shown(ledger: str, account: str) -> dict[str, Any]:
    """An account's state and limits, its queries, its gain or cost, and when it asked last.

    What it never did, and limits that are the service's, are None. Raises ValueError where there is none.
    """
    with _existing(ledger) as opened:
        return _row(_found(opened, account), opened.standings())


def disable(ledger: str, account: str, disabled: bool = True) -> None:
    """Refuse an account's key from now on, or accept it again. Raises ValueError where there is none."""
    with _existing(ledger) as opened:
        opened.change_account(replace(_found(opened, account), disabled=disabled))


def limit(ledger: str, account: str, pending: int | None, requests_a_minute: int | None) -> None:
    """Give an account limits of its own; None: the service's. Raises ValueError for what makes no sense."""
    for name, value in (("--pending", pending), ("--requests-a-minute", requests_a_minute)):
        if value is not None:
            check_number(name, value, 1, MOST, whole=True)
    with _existing(ledger) as opened:
        changed = replace(_found(opened, account), pending=pending, requests_a_minute=requests_a_minute)
        opened.change_account(changed)


def reset(ledger: str, account: str) -> None:
    """Forget what an account, or a group that pays together, has asked, so that its prices begin anew.

    Raises ValueError where nobody of this name is known.
    """
    with _existing(ledger) as opened:
        if not opened.reset(account):
            _found(opened, account)


def export(ledger: str) -> str:
    """What each payer has asked, as CSV: account, queries, gain, last_asked, disabled.

    The gain is in honest queries (under a calibration by a line, the privacy cost), the time in seconds since
    1970, `disabled` 1 or 0. Raises ValueError where there is no ledger.
    """
    with _existing(ledger) as opened:
        standings = {payer: Standing.of(numbers) for payer, numbers in opened.standings().items()}
        disabled = {account.name for account in opened.accounts() if account.disabled}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["account", "queries", "gain", "last_asked", "disabled"])
    for payer, each in sorted(standings.items()):
        row = [payer, int(each.queries), f"{each.gain:.6f}", f"{each.at:.0f}", int(payer in disabled)]
        writer.writerow(row)
    return text.getvalue()


def rotate(ledger: str, keep: int) -> None:
    """Sign with a new key from now on; servers that run know it within seconds."""
    with _existing(ledger) as opened:
        rotate_key(opened, keep)


@contextmanager
def _existing(ledger: str) -> Iterator[Ledger]:
    """Open a ledger for a while; raises ValueError where there is none."""
    if "://" not in ledger and not Path(ledger).exists():
        raise ValueError(f"--ledger {ledger}: there is no such ledger")
    with closing(open_ledger(ledger)) as opened:
        yield opened


def _found(ledger: Ledger, account: str) -> Account:
    found = next((each for each in ledger.accounts() if each.name == account), None)
    if found is None:
        raise _unknown(account)
    return found


def _unknown(account: str) -> ValueError:
    return ValueError(f"there is no account {account!r}")


def _row(account: Account, standings: dict[str, Any]) -> dict[str, Any]:
    numbers = standings.get(account.name)
    standing = None if numbers is None else Standing.of(numbers)
    return {
        "account": account.name,
        "disabled": account.disabled,
        "pending": account.pending,
        "requests_a_minute": account.requests_a_minute,
        "queries": None if standing is None else int(standing.queries),
        "gain": None if standing is None else standing.gain,
        "last_asked": None if standing is None else standing.at,
    }
