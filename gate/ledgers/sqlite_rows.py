"""What a ledger does with the rows of a SQLite file, within a transaction that its caller holds."""

from __future__ import annotations

import sqlite3

import numpy as np

from gate.ledgers import sqlite_statements as statements
from gate.ledgers.base import (
    WINDOW_SECONDS,
    Account,
    Attempt,
    LimitReached,
    NotRedeemable,
    NotRepeatable,
)


def add(database: sqlite3.Connection, account: str, key_digest: bytes) -> None:
    """Add an account; raise ValueError where its name or key is taken."""
    try:
        database.execute("INSERT INTO accounts (account, key_digest) VALUES (?, ?)", (account, key_digest))
    except sqlite3.IntegrityError as error:
        raise ValueError(f"there is an account {account!r} already, or its key is taken") from error


def count(database: sqlite3.Connection, account: str, now: float, most: int) -> None:
    """Count a request in its window; raise LimitReached, which undoes the transaction, if it is one more."""
    window = int(now // WINDOW_SECONDS)
    (count,) = database.execute(statements.COUNT_REQUEST, (window, account)).fetchone()
    if count > most:
        raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)


def account(name: str, disabled: int, pending: int | None, requests_a_minute: int | None) -> Account:
    """The account of a row of ACCOUNTS."""
    return Account(name, bool(disabled), pending, requests_a_minute)


def attempted(database: sqlite3.Connection, account: str, attempt: Attempt, now: float) -> str | None:
    """Return the token that the attempt brought before, or None; raise NotRepeatable."""
    row = database.execute(statements.ATTEMPTED, (account, attempt.key, now)).fetchone()
    if row is None:
        return None
    digest, token = row
    if digest != attempt.digest:
        raise NotRepeatable("another")
    if token is None:
        raise NotRepeatable("in progress")
    return str(token)


def found(database: sqlite3.Connection, challenge: bytes, now: float) -> tuple[str, bytes, str]:
    """Return a challenge's state, answer and account; raise NotRedeemable where it brings nothing."""
    row = database.execute(statements.FIND, (challenge, now)).fetchone()
    if row is None or row[0] == "held":
        raise NotRedeemable("unknown")
    if row[1] is None:
        raise NotRedeemable("spent")
    return row


def settle(database: sqlite3.Connection, challenge: bytes) -> None:
    """Add what a challenge settles to where its payer stands; nothing where that was reset."""
    row = database.execute(statements.SETTLES, (challenge,)).fetchone()
    if row is None:
        return
    counted, payer, settles, stands = row
    numbers, added = as_numbers(stands), as_numbers(settles)
    numbers[: len(added)] += added
    database.execute(statements.STAND, (counted, payer, as_blob(numbers)))


def counting(database: sqlite3.Connection) -> str | None:
    """What the numbers count that were counted last, if any were."""
    row = database.execute("SELECT counted FROM counting").fetchone()
    return row[0] if row else None


def signing_keys(database: sqlite3.Connection) -> list[bytes]:
    """The signing keys, the newest first."""
    rows = database.execute("SELECT secret FROM signing_keys ORDER BY number DESC").fetchall()
    return [secret for (secret,) in rows]


def as_blob(numbers: np.ndarray) -> bytes:
    """The numbers as the file holds them."""
    return np.asarray(numbers, dtype="<f8").tobytes()


def as_numbers(blob: bytes) -> np.ndarray:
    """The numbers that the file holds."""
    return np.frombuffer(blob, "<f8").astype(np.float64)
