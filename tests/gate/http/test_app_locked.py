"""Another process holds the ledger's file: requests wait for it, and nothing else does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

import pytest

from gate.ledgers import sqlite
from gate.ledgers.base import Busy
from gate.ledgers.sqlite import SqliteLedger
from gate.protocol import encode
from gate.steps import NPY
from support.gates.over_http import IMAGES, assert_refused, serving, solved


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the file's write lock, as another program's long transaction does."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_who_needs_no_ledger_waits_for_nobody_and_the_others_are_answered(tmp_path: Path) -> None:
    with serving(tmp_path) as server, ThreadPoolExecutor(3) as pool:
        first = server.ask()
        with locked(tmp_path / "ledger.sqlite"):
            asked = [pool.submit(server.ask) for _ in range(2)]
            redeemed = pool.submit(server.redeem, first["challenge"], solved(first))
            sleep(0.1)
            began = perf_counter()
            assert server.get("/v1/model").status_code == 200
            took = perf_counter() - began
            sleep(0.5)
            assert not redeemed.done() and not any(each.done() for each in asked)
        assert took < 0.4, "a page waited for the ledger"
        assert len({each.result()["challenge"] for each in asked}) == 2
        assert redeemed.result().status_code == 200
        assert server.queries() == 3 * len(IMAGES)


def test_a_lock_that_lasts_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.2)
    with serving(tmp_path) as server, locked(tmp_path / "ledger.sqlite"), ThreadPoolExecutor(4) as pool:
        began = perf_counter()
        asked = [pool.submit(server.post, "/v1/predict", encode(IMAGES), kind=NPY) for _ in range(4)]
        for each in asked:
            assert_refused(each.result(), 503, "busy")
        assert perf_counter() - began < 2


def test_in_haste_one_call_does_not_wait_and_has_done_nothing(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger")
    with locked(tmp_path / "ledger"):
        began = perf_counter()
        with pytest.raises(Busy), ledger.in_haste():
            ledger.add_account("alice", b"key")
        assert perf_counter() - began < 1
    assert ledger.accounts() == []
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "ledger"):
            added = pool.submit(ledger.add_account, "alice", b"key")
            sleep(0.1)
        added.result()
    assert [account.name for account in ledger.accounts()] == ["alice"]
