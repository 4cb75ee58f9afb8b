"""This ledger uses one SQLite file, for a gate on one machine with any number of processes."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from gate.ledgers import sqlite_rows as rows
from gate.ledgers import sqlite_statements as statements
from gate.ledgers.base import (
    STRANGERS,
    WINDOW_SECONDS,
    Account,
    Attempt,
    Busy,
    Charge,
    Ledger,
    LimitReached,
    Limits,
    NotRedeemable,
    Unavailable,
)
from gate.ledgers.sqlite_file import (
    BUSY_SECONDS,
    connected,
    file_at,
    is_busy,
    keep_for_its_owner,
    make_for_its_owner,
    switch_to_write_ahead_log,
)
from storage.options import check_choice

Synchronous = Literal["full", "normal"]

HASTY_SECONDS = 0.01
"""Seconds that it waits in haste: longer than transactions of other gates take."""


class SqliteLedger(Ledger):
    """A ledger in an SQLite file, for its owner only. A process must open it after a fork, not before.

    Args:
        path: The file, made if there is none.
        synchronous: With "full" what was flushed survives a power cut, and so do changes of accounts and
            keys. With "normal" a power cut, but not a killed process, may undo the last calls, each as a
            whole.

    Raises:
        OSError: The file cannot be opened.
        ValueError: `synchronous` is not a valid word, or another version or program wrote the file.
    """

    at_once = True

    def __init__(self, path: Path, synchronous: Synchronous = "full") -> None:
        check_choice("synchronous", synchronous, Synchronous)
        # Threads queue for one connection, which is fair. Connections that wait for each other would poll.
        self._lock, self._reader_lock = threading.Lock(), threading.Lock()
        self._haste, self._milliseconds = threading.local(), 1000 * BUSY_SECONDS
        self._path, self._durable, self._counted = path, synchronous, ""
        make_for_its_owner(path)
        try:
            self._connection = connected(path)
            try:
                is_new = self._is_new(path)  # asked before any change to another program's file
                switch_to_write_ahead_log(self._connection)
                self._connection.execute("PRAGMA synchronous = normal")
                if is_new:
                    self._create_schema()
                self._counted = rows.counting(self._connection) or ""
                self._reader = connected(path)  # which waits for no transaction
                self._opened = file_at(path)
                keep_for_its_owner(path)
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise OSError(f"{path} cannot be opened as a ledger: {error}") from error

    def _is_new(self, path: Path) -> bool:
        version, tables = self._connection.execute(statements.VERSION_AND_TABLES).fetchone()
        if version == 0 and tables:
            raise ValueError(f"{path} is not a ledger but another program's database")
        if version not in (0, statements.VERSION):
            raise ValueError(
                f"{path} is a ledger of version {version}; this program reads {statements.VERSION}"
            )
        return version == 0

    def _create_schema(self) -> None:
        with self._transaction(durable=True) as database:
            for statement in statements.SCHEMA:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {statements.VERSION}")

    @contextmanager
    def _transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Yield the connection within a transaction, which an exception undoes.

        What is durable outlives a power cut, as does all before it.
        """
        with _told(), self._alone() as database:
            if durable and self._durable == "full":
                database.execute("PRAGMA synchronous = full")
            try:
                with database:
                    database.execute("BEGIN IMMEDIATE")
                    yield database
            finally:
                if durable and self._durable == "full":
                    database.execute("PRAGMA synchronous = normal")

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection to this thread alone; what is left of its patience is for other processes."""
        deadline = time.monotonic() + self._haste.__dict__.pop("seconds", BUSY_SECONDS)
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise Busy("the ledger is busy")
        try:
            left = round(1000 * max(0.0, deadline - time.monotonic()))
            if left != self._milliseconds:
                self._connection.execute(f"PRAGMA busy_timeout = {left}")
                self._milliseconds = left
            yield self._connection
        finally:
            self._lock.release()

    @contextmanager
    def in_haste(self) -> Iterator[None]:
        """See Ledger."""
        self._haste.seconds = HASTY_SECONDS
        try:
            yield
        finally:
            self._haste.__dict__.pop("seconds", None)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that sees what was committed, to this thread alone."""
        with self._reader_lock, _told():
            yield self._reader

    def add_account(self, account: str, key_digest: bytes) -> None:
        """See Ledger."""
        with self._transaction(durable=True) as database:
            rows.add(database, account, key_digest)

    def open_account(
        self, account: str, key_digest: bytes, challenge: bytes, now: float, expires: float, most: int
    ) -> None:
        """See Ledger."""
        with self._transaction(durable=True) as database:
            try:
                database.execute(statements.SPEND, (challenge, account, float(expires)))
            except sqlite3.IntegrityError as error:
                raise NotRedeemable("spent") from error
            rows.count(database, STRANGERS, now, most)
            rows.add(database, account, key_digest)

    def find_account(self, key_digest: bytes) -> Account | None:
        """See Ledger."""
        with self._reading() as database:
            row = database.execute(f"{statements.ACCOUNTS} WHERE key_digest = ?", (key_digest,)).fetchone()
        return rows.account(*row) if row else None

    def accounts(self) -> list[Account]:
        """See Ledger."""
        with self._reading() as database:
            return [
                rows.account(*row)
                for row in database.execute(f"{statements.ACCOUNTS} ORDER BY account").fetchall()
            ]

    def change_account(self, account: Account) -> bool:
        """See Ledger."""
        change = "UPDATE accounts SET disabled = ?, pending = ?, requests_a_minute = ? WHERE account = ?"
        values = (account.disabled, account.pending, account.requests_a_minute, account.name)
        with self._transaction(durable=True) as database:
            return database.execute(change, values).rowcount > 0

    def remove_account(self, account: str) -> bool:
        """See Ledger."""
        with self._transaction(durable=True) as database:
            return database.execute("DELETE FROM accounts WHERE account = ?", (account,)).rowcount > 0

    def admit(
        self,
        account: str,
        challenge: bytes,
        now: float,
        until: float,
        limits: Limits,
        attempt: Attempt | None = None,
    ) -> str | None:
        """See Ledger."""
        with self._transaction() as database:
            if attempt is not None and (token := rows.attempted(database, account, attempt, now)) is not None:
                rows.count(database, account, now, limits.requests_a_minute)
                return token
            # An account at its limit may ask again when the limit-th from the last to expire has expired.
            in_the_way = database.execute(statements.PENDING, (account, now, limits.pending - 1)).fetchone()
            if in_the_way:
                raise LimitReached("pending", in_the_way[0] - now)
            rows.count(database, account, now, limits.requests_a_minute)
            told = (attempt.key, attempt.digest) if attempt else (None, None)
            database.execute(statements.FORGET_ATTEMPT, (account, told[0]))
            try:
                database.execute(statements.HOLD, (challenge, account, float(until), *told))
            except sqlite3.IntegrityError as error:
                raise ValueError(f"the id {challenge.hex()} is taken") from error
        return None

    def give_up(self, challenge: bytes) -> None:
        """See Ledger."""
        with self._transaction() as database:
            database.execute("DELETE FROM challenges WHERE challenge = ? AND state = 'held'", (challenge,))

    def charge(
        self, challenge: bytes, account: str, payer: str, change: Callable[[np.ndarray | None], Charge]
    ) -> Charge:
        """See Ledger."""
        find = "SELECT numbers FROM standings WHERE counted = ? AND payer = ?"
        with self._transaction() as database:
            row = database.execute(find, (self._counted, payer)).fetchone()
            charge = change(rows.as_numbers(row[0]) if row else None)
            kept = (challenge, account, charge.answer, charge.token, float(charge.expires))
            settles = (self._counted, payer, rows.as_blob(charge.settles))
            if not database.execute(statements.KEEP, (*kept, *settles)).rowcount:
                raise ValueError(f"an answer to challenge {challenge.hex()} was kept before")
            database.execute(statements.STAND, (self._counted, payer, rows.as_blob(charge.numbers)))
        return charge

    def redeemed(self, challenge: bytes, now: float) -> bytes | None:
        """See Ledger."""
        with self._reading() as database:
            state, answer, _ = rows.found(database, challenge, now)
        return answer if state == "redeemed" else None

    def redeem(self, challenge: bytes, now: float, remembered: int) -> bytes:
        """See Ledger."""
        with self._transaction() as database:
            state, answer, account = rows.found(database, challenge, now)
            if state == "kept":
                rows.settle(database, challenge)
                (number,) = database.execute(statements.REDEEM, (account, challenge)).fetchone()
                database.execute(statements.SPEND_OLD, (account, number - remembered))
        return answer

    def count_as(self, counted: str, anew: bool = False) -> str | None:
        """See Ledger."""
        with self._transaction(durable=True) as database:
            before = rows.counting(database)
            if before not in (None, counted) and not anew:
                return before
            database.execute("INSERT OR REPLACE INTO counting VALUES (1, ?)", (counted,))
        self._counted = counted
        return None

    def standings(self) -> dict[str, np.ndarray]:
        """See Ledger."""
        find = "SELECT payer, numbers FROM standings WHERE counted = ?"
        with self._reading() as database:
            found = database.execute(find, (self._counted,)).fetchall()
        return {payer: rows.as_numbers(blob) for payer, blob in found}

    def reset(self, payer: str) -> bool:
        """See Ledger."""
        forget = "DELETE FROM standings WHERE counted = ? AND payer = ?"
        with self._transaction(durable=True) as database:
            return database.execute(forget, (self._counted, payer)).rowcount > 0

    def signing_keys(self) -> list[bytes]:
        """See Ledger."""
        with self._reading() as database:
            return rows.signing_keys(database)

    def add_signing_key(self, key: bytes, keep: int) -> list[bytes]:
        """See Ledger."""
        forget = "DELETE FROM signing_keys WHERE number <= (SELECT max(number) FROM signing_keys) - ? - 1"
        with self._transaction(durable=True) as database:
            database.execute("INSERT INTO signing_keys (secret) VALUES (?)", (key,))
            database.execute(forget, (keep,))
            return rows.signing_keys(database)

    def flush(self) -> None:
        """See Ledger. Commits lie in the write-ahead log; SQLite flushes that itself before it empties it."""
        if self._durable != "full":
            return
        self._check_file()
        try:
            log = os.open(self._path.with_name(f"{self._path.name}-wal"), os.O_RDONLY)
            try:
                os.fsync(log)
            finally:
                os.close(log)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unavailable(f"the ledger cannot be written to the disk: {error}") from error

    def _check_file(self) -> None:
        """Raise Unavailable where the file at the path is not the one that was opened."""
        try:
            is_same = file_at(self._path) == self._opened
        except OSError:
            is_same = False
        if not is_same:
            raise Unavailable(f"the ledger {self._path} was removed or replaced; start the gate again")

    def check(self) -> None:
        """See Ledger."""
        self._check_file()
        with self._transaction() as database:  # which writes, so that a full disk or a lock is noticed
            database.execute(statements.CHECK)

    def sweep(self, now: float) -> int:
        """See Ledger."""
        with self._transaction() as database:
            database.execute("DELETE FROM requests WHERE window < ?", (int(now // WINDOW_SECONDS),))
            return database.execute("DELETE FROM challenges WHERE expires <= ?", (now,)).rowcount

    def close(self) -> None:
        """See Ledger."""
        with self._lock, self._reader_lock:
            self._connection.close()
            self._reader.close()


@contextmanager
def _told() -> Iterator[None]:
    """Raise Unavailable where the file cannot be used."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        kind = Busy if is_busy(error) else Unavailable
        raise kind(f"the ledger cannot be used: {error}") from error
