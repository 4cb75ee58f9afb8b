"""Who waits for the disk at the same time waits for it once, and never for a flush that began before."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from gate.http.flushes import Flushes
from support.gates.over_http import IMAGES, serving


def test_those_who_come_meanwhile_share_the_next() -> None:
    began, go = threading.Semaphore(0), threading.Semaphore(0)
    count = [0]

    def flush() -> None:
        count[0] += 1
        began.release()
        assert go.acquire(timeout=20)

    async def run() -> None:
        flushes = Flushes(flush)
        first = asyncio.create_task(flushes())
        await asyncio.to_thread(began.acquire)
        later = [asyncio.create_task(flushes()) for _ in range(10)]
        await asyncio.sleep(0.05)
        assert count == [1] and not any(each.done() for each in later)
        go.release()
        await first
        await asyncio.to_thread(began.acquire)
        assert not any(each.done() for each in later), "a flush that began before they came is not theirs"
        go.release()
        await asyncio.gather(*later)
        assert count == [2]
        go.release()
        await flushes()
        assert count == [3]

    asyncio.run(run())


def test_what_it_raises_is_told_to_all_and_the_next_is_tried() -> None:
    fails = [True]

    def flush() -> None:
        if fails[0]:
            raise OSError("the disk is full")

    async def run() -> None:
        flushes = Flushes(flush)
        found = await asyncio.gather(*(flushes() for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in found] == [OSError] * 3
        fails[0] = False
        await flushes()

    asyncio.run(run())


def test_a_challenge_is_told_once_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr("gate.ledgers.sqlite.SqliteLedger.flush", lambda ledger: flushed.append("flushed"))
    with serving(tmp_path) as server:
        for number in range(1, 4):
            server.ask(IMAGES[:1])
            assert len(flushed) == number
