"""Ledgers are opened by many at once, as told, or not at all."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from gate.ledgers.base import Account, Unavailable
from gate.ledgers.redis import RedisLedger
from gate.ledgers.sqlite import SqliteLedger
from support.gates.ledgers import (
    ANYTHING,
    LATER,
    NOW,
    OpenNamed,
    admitted,
    challenge,
    free_port,
    keep,
    redeem,
)


def test_many_open_a_new_ledger_at_once(open_named: OpenNamed) -> None:
    together = threading.Barrier(8)

    def add(number: int) -> None:
        together.wait(timeout=60)
        with closing(open_named("ledger")) as ledger:
            ledger.add_account(f"account {number}", bytes([number]))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(8)))
    with closing(open_named("ledger")) as ledger:
        assert all(
            ledger.find_account(bytes([number])) == Account(f"account {number}") for number in range(8)
        )


def test_opening_waits_for_another_that_opens(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as another, ThreadPoolExecutor(1) as threads:
        another.execute("BEGIN IMMEDIATE")
        opening = threads.submit(SqliteLedger, path)
        time.sleep(0.1)
        assert not opening.done()
        another.execute("ROLLBACK")
        opening.result().close()


def test_a_server_out_of_reach_is_told_at_once() -> None:
    with pytest.raises(Unavailable, match=r"Redis on 127\.0\.0\.1 cannot be used"):
        RedisLedger(f"redis://127.0.0.1:{free_port()}/0")


@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_commits_reach_the_disk_as_chosen(
    tmp_path: Path, synchronous: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqliteLedger(tmp_path / "ledger.db", synchronous)) as ledger:  # type: ignore[arg-type]
        told: list[str] = []
        ledger._connection.set_trace_callback(told.append)
        admitted(ledger, "ann", NOW, ANYTHING)
        assert told[0] == "BEGIN IMMEDIATE"
        told.clear()
        keep(ledger, challenge(0), "ann", b"answer", LATER)
        redeem(ledger, challenge(0))
        assert not any("synchronous" in statement for statement in told), (
            "flush makes them outlive a power cut"
        )
        told.clear()
        ledger.add_account("ann", b"digest")
        assert (told[0] == "PRAGMA synchronous = full") == (synchronous == "full")
        synced: list[str] = []
        told_of = Path("/proc/self/fd")
        monkeypatch.setattr(os, "fsync", lambda file: synced.append(str((told_of / str(file)).readlink())))
        ledger.flush()
        assert synced == ([f"{tmp_path}/ledger.db-wal"] if synchronous == "full" else [])

        def full(file: int) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable) if synchronous == "full" else nullcontext():
            ledger.flush()
        assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (1,)
        assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(ValueError, match="one of full, normal, not 'off'"):
        SqliteLedger(tmp_path / "ledger.db", "off")  # type: ignore[arg-type]


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_file_that_was_removed_or_replaced_is_told(tmp_path: Path, comes_back: bool) -> None:
    """The process still holds the old file, which nobody else sees, and which ends with it."""
    path = tmp_path / "ledger"
    with closing(SqliteLedger(path)) as ledger:
        ledger.check()
        ledger.flush()
        for file in tmp_path.iterdir():
            file.unlink()
        if comes_back:
            SqliteLedger(path).close()
        for asked in (ledger.check, ledger.flush):
            with pytest.raises(Unavailable, match="was removed or replaced; start the gate again"):
                asked()


def test_the_check_notices_that_nothing_can_be_written(tmp_path: Path) -> None:
    with closing(SqliteLedger(tmp_path / "ledger")) as ledger:
        ledger._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(Unavailable, match="readonly"):
            ledger.check()


def test_a_file_that_is_no_ledger_of_this_version_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "newer.db")) as database:
        database.execute("PRAGMA user_version = 7")
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE guests (name TEXT)")
    (tmp_path / "text.db").write_text("Dear diary, " * 1000)
    for name, error, said in [
        ("newer.db", ValueError, r"newer\.db is a ledger of version 7; this program reads 5"),
        ("other.db", ValueError, r"other\.db is not a ledger"),
        ("text.db", OSError, r"text\.db cannot be opened as a ledger: file is not a database"),
        ("no/such.db", OSError, r"such\.db cannot be opened as a ledger: No such file"),
    ]:
        with pytest.raises(error, match=said):
            SqliteLedger(tmp_path / name)
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
