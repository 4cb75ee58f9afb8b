"""This ledger uses one SQLite file, for a gate on one machine with any number of processes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from gate.ledgers.base import (
    STRANGERS,
    WINDOW_SECONDS,
    Booked,
    Ledger,
    LimitReached,
    Limits,
    NotRedeemable,
)
from storage.options import check_choice

Synchronous = Literal["full", "normal"]

VERSION = 3
"""Version of the schema; a file stores its own in `user_version`."""

BUSY_SECONDS = 10.0
"""Seconds that a method waits for other processes' transactions before it fails."""

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS accounts (account TEXT PRIMARY KEY, key_digest BLOB NOT NULL UNIQUE)",
    """CREATE TABLE IF NOT EXISTS requests (
        window INTEGER, account TEXT, count INTEGER NOT NULL, PRIMARY KEY (window, account)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS payers (
        payer TEXT PRIMARY KEY, queries INTEGER NOT NULL, revealed BLOB NOT NULL
    )""",
    "CREATE TABLE IF NOT EXISTS standings (payer TEXT PRIMARY KEY, numbers BLOB NOT NULL)",
    # A challenge is held without an answer, then kept with one, then redeemed, and the answer is NULL again.
    """CREATE TABLE IF NOT EXISTS challenges (
        challenge BLOB PRIMARY KEY, account TEXT NOT NULL, answer BLOB, expires REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('held', 'kept', 'redeemed'))
    )""",
    "CREATE INDEX IF NOT EXISTS pending ON challenges (account, expires) WHERE state != 'redeemed'",
    "CREATE INDEX IF NOT EXISTS expiring ON challenges (expires)",
)

# One statement sees one moment, even if another process is creating the schema.
VERSION_AND_TABLES = "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version"
PENDING = """
    SELECT expires FROM challenges INDEXED BY pending
    WHERE account = ? AND state != 'redeemed' AND expires > ? ORDER BY expires DESC LIMIT 1 OFFSET ?
"""
HOLD = "INSERT INTO challenges VALUES (?, ?, NULL, ?, 'held')"
SPEND = "INSERT INTO challenges VALUES (?, ?, NULL, ?, 'redeemed')"
KEEP = """
    INSERT INTO challenges VALUES (?, ?, ?, ?, 'kept')
    ON CONFLICT DO UPDATE SET answer = excluded.answer, expires = excluded.expires, state = 'kept'
    WHERE state = 'held' AND account = excluded.account
"""
REDEEM = "UPDATE challenges SET answer = NULL, state = 'redeemed' WHERE challenge = ?"
COUNT_REQUEST = """
    INSERT INTO requests VALUES (?, ?, 1)
    ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count
"""


class SqliteLedger(Ledger):
    """A ledger in an SQLite file. A process must open it after a fork, not before.

    Args:
        path: The file, made if there is none.
        synchronous: "full" survives a power cut. With "normal" a power cut, but not a killed process, may
            undo the last calls, each as a whole.

    Raises:
        OSError: The file cannot be opened.
        ValueError: `synchronous` is not a valid word, or another version or program wrote the file.
    """

    def __init__(self, path: Path, synchronous: Synchronous = "full") -> None:
        check_choice("synchronous", synchronous, Synchronous)
        # Threads queue for one connection, which is fair. Connections that wait for each other would poll.
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                is_new = self._is_new(path)  # asked before any change to another program's file
                _switch_to_write_ahead_log(self._connection)
                self._connection.execute(f"PRAGMA synchronous = {synchronous}")
                if is_new:
                    self._create_schema()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise OSError(f"{path} cannot be opened as a ledger: {error}") from error

    def _is_new(self, path: Path) -> bool:
        version, tables = self._connection.execute(VERSION_AND_TABLES).fetchone()
        if version == 0 and tables:
            raise ValueError(f"{path} is not a ledger but another program's database")
        if version not in (0, VERSION):
            raise ValueError(f"{path} is a ledger of version {version}; this program reads {VERSION}")
        return version == 0

    def _create_schema(self) -> None:
        with self._transaction() as database:
            for statement in SCHEMA:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection within a transaction, which an exception undoes."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection

    def add_account(self, account: str, key_digest: bytes) -> None:
        """See Ledger."""
        with self._transaction() as database:
            _add(database, account, key_digest)

    def open_account(
        self, account: str, key_digest: bytes, challenge: bytes, now: float, expires: float, most: int
    ) -> None:
        """See Ledger."""
        with self._transaction() as database:
            try:
                database.execute(SPEND, (challenge, account, float(expires)))
            except sqlite3.IntegrityError as error:
                raise NotRedeemable("spent") from error
            _count(database, STRANGERS, now, most)
            _add(database, account, key_digest)

    def find_account(self, key_digest: bytes) -> str | None:
        """See Ledger."""
        with self._lock:
            found = self._connection.execute(
                "SELECT account FROM accounts WHERE key_digest = ?", (key_digest,)
            ).fetchone()
        return found[0] if found else None

    def remove_account(self, account: str) -> bool:
        """See Ledger."""
        with self._transaction() as database:
            return database.execute("DELETE FROM accounts WHERE account = ?", (account,)).rowcount > 0

    def admit(self, account: str, challenge: bytes, now: float, until: float, limits: Limits) -> None:
        """See Ledger."""
        with self._transaction() as database:
            # An account at its limit may ask again when the limit-th from the last to expire has expired.
            in_the_way = database.execute(PENDING, (account, now, limits.pending - 1)).fetchone()
            if in_the_way:
                raise LimitReached("pending", in_the_way[0] - now)
            _count(database, account, now, limits.requests_a_minute)
            try:
                database.execute(HOLD, (challenge, account, float(until)))
            except sqlite3.IntegrityError as error:
                raise ValueError(f"the id {challenge.hex()} is taken") from error

    def give_up(self, challenge: bytes) -> None:
        """See Ledger."""
        with self._transaction() as database:
            database.execute("DELETE FROM challenges WHERE challenge = ? AND state = 'held'", (challenge,))

    def book(self, payer: str, queries: int, revealed: np.ndarray) -> Booked:
        """See Ledger."""
        with self._transaction() as database:
            before = _totals(database, payer) or Booked(0, np.zeros(_width(database) or np.size(revealed)))
            if np.shape(revealed) != before.revealed.shape:
                raise ValueError(f"revealed has shape {np.shape(revealed)}, not {before.revealed.shape}")
            with np.errstate(over="ignore"):
                after = Booked(before.queries + int(queries), before.revealed + revealed)
            if not np.isfinite(after.revealed).all():
                raise ValueError("what was revealed is not finite, or its total is not")
            blob = after.revealed.astype("<f8").tobytes()
            database.execute("INSERT OR REPLACE INTO payers VALUES (?, ?, ?)", (payer, after.queries, blob))
        return after

    def update(self, payer: str, change: Callable[[np.ndarray | None], np.ndarray]) -> np.ndarray:
        """See Ledger."""
        with self._transaction() as database:
            row = database.execute("SELECT numbers FROM standings WHERE payer = ?", (payer,)).fetchone()
            after = np.asarray(change(_numbers(row[0]) if row else None), dtype=np.float64)
            blob = after.astype("<f8").tobytes()
            database.execute("INSERT OR REPLACE INTO standings VALUES (?, ?)", (payer, blob))
        return after

    def kept(self) -> dict[str, np.ndarray]:
        """See Ledger."""
        with self._lock:
            rows = self._connection.execute("SELECT payer, numbers FROM standings").fetchall()
        return {payer: _numbers(blob) for payer, blob in rows}

    def totals(self, payer: str) -> Booked | None:
        """See Ledger."""
        with self._lock:
            return _totals(self._connection, payer)

    def keep(self, challenge: bytes, account: str, answer: bytes, expires: float) -> None:
        """See Ledger."""
        with self._transaction() as database:
            if not database.execute(KEEP, (challenge, account, answer, float(expires))).rowcount:
                raise ValueError(f"an answer to challenge {challenge.hex()} was kept before")

    def redeem(self, challenge: bytes, now: float) -> bytes:
        """See Ledger."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT state, answer FROM challenges WHERE challenge = ? AND expires > ?", (challenge, now)
            ).fetchone()
            if row is None or row[0] == "held":
                raise NotRedeemable("unknown")
            if row[0] == "redeemed":
                raise NotRedeemable("spent")
            database.execute(REDEEM, (challenge,))
        return row[1]

    def sweep(self, now: float) -> int:
        """See Ledger."""
        with self._transaction() as database:
            database.execute("DELETE FROM requests WHERE window < ?", (int(now // WINDOW_SECONDS),))
            return database.execute("DELETE FROM challenges WHERE expires <= ?", (now,)).rowcount

    def close(self) -> None:
        """See Ledger."""
        with self._lock:
            self._connection.close()


def _switch_to_write_ahead_log(connection: sqlite3.Connection) -> None:
    # If several processes switch a new file at once, SQLite may refuse one of them without waiting.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _add(database: sqlite3.Connection, account: str, key_digest: bytes) -> None:
    try:
        database.execute("INSERT INTO accounts VALUES (?, ?)", (account, key_digest))
    except sqlite3.IntegrityError as error:
        raise ValueError(f"there is an account {account!r} already, or its key is taken") from error


def _count(database: sqlite3.Connection, account: str, now: float, most: int) -> None:
    """Count a request in its window; raise LimitReached, which undoes the transaction, if it is one more."""
    window = int(now // WINDOW_SECONDS)
    (count,) = database.execute(COUNT_REQUEST, (window, account)).fetchone()
    if count > most:
        raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)


def _totals(database: sqlite3.Connection, payer: str) -> Booked | None:
    """Return a payer's totals, or None before its first request."""
    row = database.execute("SELECT queries, revealed FROM payers WHERE payer = ?", (payer,)).fetchone()
    return Booked(row[0], np.frombuffer(row[1], "<f8").astype(np.float64)) if row else None


def _numbers(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, "<f8").astype(np.float64)


def _width(database: sqlite3.Connection) -> int | None:
    """Return how many numbers a payer's totals have, or None before the first payer."""
    row = database.execute("SELECT length(revealed) / 8 FROM payers LIMIT 1").fetchone()
    return row[0] if row else None
