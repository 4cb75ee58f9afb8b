"""The file of a ledger in SQLite: made for its owner, opened, and told from another that took its place."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

BUSY_SECONDS = 10.0
"""Seconds that a method waits for other transactions before it fails."""


def connected(path: Path) -> sqlite3.Connection:
    """Open the file; statements are committed by themselves but in a transaction."""
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def make_for_its_owner(path: Path) -> None:
    """Make the file where there is none, for its owner only: it will hold unpaid answers and secrets."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise OSError(f"{path} cannot be opened as a ledger: {error.strerror}") from error


def file_at(path: Path) -> tuple[int, int]:
    """Which file a path leads to."""
    found = path.stat()
    return found.st_dev, found.st_ino


def keep_for_its_owner(path: Path) -> None:
    """Take the file, and what SQLite puts beside it, from all but its owner."""
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(FileNotFoundError, PermissionError):  # another user's file stays as it is
            each.chmod(0o600)


def switch_to_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Have a file keep what it is told in a log of its own, so that readers wait for no writer."""
    # If several processes switch a new file at once, SQLite may refuse one of them without waiting.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def is_busy(error: sqlite3.Error) -> bool:
    """Whether others used the file for too long."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
