"""Accounts that strangers open by work."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from commands.accounts import main
from gate.api_keys import key_digest
from gate.app import create_app
from gate.challenges import SECRET_BYTES, Keyring, shared_keyring
from gate.client import Client, TooExpensive, Willing
from gate.gate import Gate
from gate.http.endpoints import STRANGERS_WAITING
from gate.ledgers.base import Ledger
from gate.ledgers.sqlite import SqliteLedger
from gate.problems import Problem
from pow.puzzles import HashcashPuzzle, Puzzle, PuzzleSettings, solve, verify
from pow.requests import opening_hashes
from support.gates.ledgers import ledger, open_named, redis_url
from support.gates.over_http import IMAGES, Server, assert_refused, serving, solved
from support.gates.server import FEW_HASHES, METER, predict, small_service

__all__ = ["ledger", "open_named", "redis_url"]

PRICE = 0.05
"""Seconds of the small gate's reference client, which does 20,000 hashes a second: 1,000 hashes."""

OPEN: dict[str, Any] = {"open_accounts": True, "account_seconds": PRICE}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("gate"), **OPEN, openings=1000) as server:
        yield server


def asked_by_a_stranger(server: Server) -> dict[str, Any]:
    response = server.post("/v1/accounts", b"", account="")
    assert response.status_code == 402, response.text
    said: dict[str, Any] = response.json()
    return said


def opened(server: Server, said: dict[str, Any], nonces: list[int]) -> httpx.Response:
    body = json.dumps({"challenge": said["challenge"], "nonces": nonces})
    return server.post("/v1/accounts/redeem", body, account="")


def test_a_stranger_opens_an_account_and_asks(server: Server) -> None:
    with Client(server.url, willing=Willing(workers=1)) as stranger:
        account = stranger.open_account()
    assert account.expected_hashes == pytest.approx(PRICE * FEW_HASHES.reference_rate, rel=1e-3)
    with Client(server.url, account.key) as client:
        assert np.array_equal(client.predict(IMAGES), predict(IMAGES))
    assert server.queries(account.account) == len(IMAGES)


def test_a_solution_opens_one_account_however_often_it_comes(server: Server) -> None:
    """So a lost reply is asked for again, and a replay brings nothing."""
    said = asked_by_a_stranger(server)
    nonces = solved(said)
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: opened(server, said, nonces), range(8)))
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.text for reply in replies}) == 1
    assert {reply.headers["cache-control"] for reply in replies} == {"no-store"}
    assert replies[0].json()["account"] == said["account"]


def test_what_does_not_open_an_account(server: Server) -> None:
    said = asked_by_a_stranger(server)
    nonces = solved(said)
    wrong = [nonce + 1 for nonce in nonces]
    assert_refused(opened(server, said, wrong), 403, "wrong_solution")
    assert_refused(
        opened(server, said | {"challenge": said["challenge"][:-1]}, nonces), 403, "forged_challenge"
    )
    query = server.ask()
    assert_refused(opened(server, query, solved(query)), 403, "forged_challenge")
    assert_refused(server.redeem(said["challenge"], nonces), 403, "forged_challenge")
    assert_refused(server.post("/v1/accounts", b"a body", account=""), 413, "too_large")


def test_strangers_do_not_take_the_threads_of_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of argon2id takes long and much memory, and nobody needs a key to have the gate check."""
    too_many = 1 + STRANGERS_WAITING + 1
    end, checking = threading.Event(), threading.Semaphore(0)

    def slow_for_strangers(puzzle: Puzzle, nonces: object) -> bool:
        if nonces != [0]:
            return verify(puzzle, nonces)
        checking.release()
        return end.wait(30) and False

    monkeypatch.setattr("gate.gate.verify", slow_for_strangers)
    with serving(tmp_path, **OPEN) as server, ThreadPoolExecutor(too_many) as threads:
        said = asked_by_a_stranger(server)
        sent = {threads.submit(opened, server, said, [0]) for _ in range(too_many)}
        (refusal,) = wait(sent, 30, FIRST_COMPLETED).done
        server.check_that_it_serves()
        checked = sum(iter(lambda: checking.acquire(blocking=False), False))
        end.set()
        assert_refused(refusal.result(), 503, "busy")
        for each in sent - {refusal}:
            assert_refused(each.result(), 403, "wrong_solution")
    assert checked == 1


def test_it_is_off_unless_it_is_chosen(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        for path in ("/v1/accounts", "/v1/accounts/redeem"):
            assert_refused(server.post(path, b"", account=""), 404, "not_found")
    assert "/v1/accounts" not in create_app_paths(tmp_path)
    assert "/v1/accounts" in create_app_paths(tmp_path, **OPEN)


def create_app_paths(folder: Path, **changes: Any) -> set[str]:
    """The paths of the document of an application."""
    with closing(SqliteLedger(folder / "ledger.sqlite")) as ledger:
        return set(create_app(predict, METER, small_service(**changes), ledger).openapi()["paths"])


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def gate_of(ledger: Ledger, **changes: Any) -> Gate:
    return Gate(small_service(**OPEN | changes), METER, ledger, Clock())


def solution(gate: Gate) -> tuple[str, list[int]]:
    signed = gate.ask_account()
    return signed.token, list(solve(signed.puzzle, workers=1).nonces)


@contextmanager
def refused(reason: str) -> Iterator[pytest.ExceptionInfo[Problem]]:
    with pytest.raises(Problem) as caught:
        yield caught
    assert caught.value.reason == reason


def test_so_many_are_opened_in_a_minute_and_no_paid_one_is_lost(ledger: Ledger) -> None:
    gate = gate_of(ledger, openings=3)
    solutions = [solution(gate) for _ in range(5)]
    keys = {gate.open_account(*each) for each in solutions[:3]}
    assert len(keys) == 3
    for each in solutions[3:]:
        with refused("too_many_requests") as caught:
            gate.open_account(*each)
        assert caught.value.retry_after == pytest.approx(60 - gate.clock() % 60)
    assert {gate.open_account(*each) for each in solutions[:3]} == keys, "what is open stays so"
    gate.clock.now += 60  # type: ignore[attr-defined]
    assert len({gate.open_account(*each) for each in solutions}) == 5


def test_the_solution_of_a_removed_account_brings_nothing(ledger: Ledger) -> None:
    gate = gate_of(ledger)
    token, nonces = solution(gate)
    name, key = gate.open_account(token, nonces)
    assert ledger.remove_account(name)
    with refused("spent"):
        gate.open_account(token, nonces)
    assert ledger.find_account(key_digest(key)) is None


def test_one_solution_at_the_same_time_counts_once(ledger: Ledger) -> None:
    """So nobody uses up the minute's accounts with the work of one."""
    gate = gate_of(ledger, openings=2)
    one, other = solution(gate), solution(gate)
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: gate.open_account(*one), range(32)))) == 1
    gate.open_account(*other)


def test_a_solution_expires(ledger: Ledger) -> None:
    gate = gate_of(ledger, lifetime=30)
    token, nonces = solution(gate)
    gate.clock.now = gate.keyring.open(token).challenge.expires  # type: ignore[attr-defined]
    with refused("expired"):
        gate.open_account(token, nonces)


def test_nothing_is_kept_of_who_only_asks(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(SqliteLedger(path)) as ledger:
        gate, before = gate_of(ledger), content(path)
        for _ in range(100):
            gate.ask_account()
        assert content(path) == before
        gate.open_account(*solution(gate))
        more = len(before) + 3
        assert len(content(path)) == more, "an account, a count of this minute's, and what is spent"
        ledger.sweep(gate.clock() + 3600)
        assert len(content(path)) == len(before) + 1, "an account"


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def test_keys_are_of_the_gates_secret(ledger: Ledger) -> None:
    """Another gate that issued the same challenge would give another key."""
    gate = gate_of(ledger)
    token, nonces = solution(gate)
    _, key = gate.open_account(token, nonces)
    assert ledger.find_account(b"any") is None and len(key) == len("tg_") + 43
    own, other = shared_keyring(ledger), Keyring([b"o" * SECRET_BYTES, *ledger.signing_keys()])
    assert other.derive(token, "api key") == own.derive(token, "api key")
    assert other.derive(token, "else") != own.derive(token, "api key")


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_an_account_for_nothing_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"open_accounts=true needs defense.pow.account_seconds above 0"):
        small_service(open_accounts=True, account_seconds=seconds)


def test_a_price_that_no_puzzle_asks_for_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"account_seconds of at most 7\.21e\+12 where puzzle.parts=2, not 1e\+13"
    ):
        small_service(open_accounts=True, account_seconds=1e13)


@pytest.mark.parametrize("wanted", [2.0, 1100.0, 1448.0, 1449.0, 1600.0, 2047.0, 4096.0])
@pytest.mark.parametrize("parts", [1, 2])
def test_whole_bits_ask_for_the_nearest_price(ledger: Ledger, wanted: float, parts: int) -> None:
    """No later request carries what is rounded off."""
    puzzle, seconds = PuzzleSettings(HashcashPuzzle, parts), wanted / FEW_HASHES.reference_rate
    asked = gate_of(ledger, puzzle=puzzle, account_seconds=seconds).ask_account()
    price = asked.puzzle.expected_hashes
    assert 1 / math.sqrt(2) <= price / wanted <= math.sqrt(2)
    assert price == opening_hashes(FEW_HASHES, puzzle, seconds), "as a grid bills it"


def test_the_command(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["open", server.url]) == 0
    name, key = capsys.readouterr().out.removeprefix("account ").split(", API key (shown this once): ")
    assert name.startswith("account-")
    with Client(server.url, key.strip()) as client:
        assert np.array_equal(client.predict(IMAGES), predict(IMAGES))
    assert main(["open", server.url, "--max-hashes", "10"]) == 1
    assert "at most 10" in capsys.readouterr().err
    with Client(server.url, willing=Willing(max_hashes=10)) as stranger, pytest.raises(TooExpensive):
        stranger.open_account()


def test_the_command_says_what_a_gate_does_not_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path) as closed:
        assert main(["open", closed.url]) == 1
    assert capsys.readouterr().err == "error: this gate opens no accounts\n"
