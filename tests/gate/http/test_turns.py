"""Turns are fair: whoever asks for many takes none from others, and nobody waits without bounds."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gate.app import observing_app
from gate.http.endpoints import CHECKS_AT_ONCE
from gate.http.turns import Turns
from gate.ledgers.base import Ledger
from gate.problems import Problem
from pow.puzzles import Argon2idPuzzle, Puzzle, PuzzleSettings, verify
from support.gates.over_http import IMAGES, assert_answered, serving, solved
from support.gates.server import small_app


async def take(turns: Turns, name: str, log: list[str], go: asyncio.Event | None = None) -> None:
    async with turns(name):
        log.append(name)
        if go is not None:
            await go.wait()


def test_one_name_has_its_turns_and_another_its_own() -> None:
    async def run() -> None:
        log: list[str] = []
        turns, go = Turns("things", at_once=3, each=2, waiting=9), asyncio.Event()
        many = [asyncio.create_task(take(turns, "many", log, go)) for _ in range(6)]
        await asyncio.sleep(0.01)
        assert Counter(log) == {"many": 2}
        other = asyncio.create_task(take(turns, "other", log))
        await asyncio.wait_for(other, 1)
        go.set()
        await asyncio.gather(*many)
        assert Counter(log) == {"many": 6, "other": 1}
        assert not turns._lines, "nothing is kept of who is gone"

    asyncio.run(run())


def test_too_many_of_a_name_and_waits_that_are_too_long_are_refused() -> None:
    async def run() -> None:
        log: list[str] = []
        turns, go = Turns("things", 1, 1, waiting=1, seconds=0.05), asyncio.Event()
        first = asyncio.create_task(take(turns, "many", log, go))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(take(turns, "many", log))
        await asyncio.sleep(0.01)
        with pytest.raises(Problem, match="too many things wait") as caught:
            await take(turns, "many", log)
        assert (caught.value.reason, caught.value.retry_after) == ("busy", 1)
        with pytest.raises(Problem, match="things wait too long"):
            await second
        go.set()
        await first
        await take(turns, "many", log)

    asyncio.run(run())


def test_replays_of_memory_hard_solutions_slow_nobody_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wrong solutions one account sends, one of them is checked at a time."""
    end, checking, most = threading.Event(), threading.Semaphore(0), [0, 0]
    lock = threading.Lock()

    def slow(puzzle: Puzzle, nonces: object) -> bool:
        if nonces != [0]:
            return verify(puzzle, nonces)
        with lock:
            most[0] += 1
            most[1] = max(most)
        checking.release()
        end.wait(30)
        with lock:
            most[0] -= 1
        return False

    monkeypatch.setattr("gate.gate.verify", slow)
    puzzle = PuzzleSettings(Argon2idPuzzle, 1, {"memory": 8, "passes": 1, "lanes": 1})
    with serving(tmp_path, puzzle=puzzle) as server, ThreadPoolExecutor(20) as threads:
        said = server.ask()
        wrong = json.dumps({"challenge": said["challenge"], "nonces": [0]})
        sent = [threads.submit(server.post, "/v1/redeem", wrong) for _ in range(20)]
        assert checking.acquire(timeout=20)
        if CHECKS_AT_ONCE > 1:
            honest = server.ask(IMAGES, "bob")
            assert_answered(server.redeem(honest["challenge"], solved(honest), "bob"), honest)
        end.set()
        assert {each.result().status_code for each in sent} == {403}
    assert most[1] == 1


def test_a_ledger_that_hangs_stalls_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def hangs(ledger: Ledger, *arguments: object) -> None:
        assert go.wait(30)

    with serving(tmp_path) as server, ThreadPoolExecutor(40) as threads, monkeypatch.context() as patch:
        patch.setattr("gate.ledgers.sqlite.SqliteLedger.check", hangs)
        hung = [threads.submit(server.get, "/healthz") for _ in range(40)]
        for path in ("/", "/page/gate.js", "/v1/model"):
            assert server.get(path).status_code == 200
        go.set()
        assert {each.result().status_code for each in hung} == {200}


def test_counts_may_have_an_address_of_their_own(tmp_path: Path) -> None:
    from gate.app import Hosting

    app = small_app(tmp_path, hosting=Hosting(observed=False))
    public = {getattr(route, "path", "") for route in app.routes}
    own = {getattr(route, "path", "") for route in observing_app(app).routes}
    assert not {"/metrics", "/openapi.json"} & public
    assert own == {"/metrics", "/openapi.json"}
    app.state.metrics.queries.inc(3)
    assert b"tollgate_queries_total 3.0" in app.state.metrics.exposition()
