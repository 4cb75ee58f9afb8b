"""What ledgers were told lasts: when they are opened again, and when a process or a server is killed."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import signal
import sqlite3
import stat
import time
from contextlib import closing, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from gate.ledgers.base import Account, Ledger, Limits, NotRedeemable, Unavailable
from gate.ledgers.redis import RedisLedger
from gate.ledgers.sqlite import SqliteLedger
from support.gates.ledgers import (
    ANYTHING,
    LATER,
    NOW,
    OpenNamed,
    add,
    admitted,
    challenge,
    free_port,
    keep,
    redeem,
    refusal,
    running_redis,
    stands,
)


def test_a_ledger_opened_again_knows_all(open_named: OpenNamed) -> None:
    with closing(open_named("ledger")) as ledger:
        ledger.add_account("ann", b"digest")
        admitted(ledger, "ann", NOW, ANYTHING)
        add(ledger, "ann", [0.1, 0.2])
        for number in range(2):
            keep(ledger, challenge(number), "ann", b"answer", NOW + 30, "other")
        redeem(ledger, challenge(0), NOW)
    with closing(open_named("another")) as ledger:
        assert ledger.find_account(b"digest") is None and stands(ledger, "ann") is None
    with closing(open_named("ledger")) as ledger:
        assert ledger.find_account(b"digest") == Account("ann")
        assert refusal(ledger, "ann", NOW, Limits(2, 1)) == ("rate", 60)
        assert refusal(ledger, "ann", NOW, Limits(1, 9)) == ("pending", 30)
        assert stands(ledger, "ann") == [0.1, 0.2]
        assert ledger.redeemed(challenge(0), NOW) == b"answer"
        assert redeem(ledger, challenge(1), NOW) == b"answer"


def work_until_killed(open_named: OpenNamed, first: int, sender: Connection) -> None:
    """Charge and keep, and redeem two of three; report each as soon as it is done."""
    ledger = open_named("ledger")
    for number in itertools.count(first):
        answer = b"answer to " + challenge(number)
        keep(ledger, challenge(number), "ann", answer, LATER, f"payer {first}")
        sender.send(("kept", number))
        if number % 3:
            redeem(ledger, challenge(number))
            sender.send(("redeemed", number))


def reports_until_killed(open_named: OpenNamed, first: int, after: int, wait: float) -> dict[str, list[int]]:
    """The reports of a process killed so many seconds after its first `after` reports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([pytest.__name__, RedisLedger.__module__])
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=work_until_killed, args=(open_named, first, sender))
    worker.start()
    sender.close()
    reports: dict[str, list[int]] = {"kept": [], "redeemed": []}
    with receiver, suppress(EOFError):
        for received in itertools.count():
            if received == after:
                time.sleep(wait)
                worker.kill()
            what, number = receiver.recv()
            reports[what].append(number)
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    return reports


def state(ledger: Ledger, number: int) -> str:
    try:
        return "kept" if ledger.redeemed(challenge(number), NOW) is None else "redeemed"
    except NotRedeemable as error:
        return error.why


def test_what_a_killed_process_did_is_done(open_named: OpenNamed) -> None:
    chance = random.Random(0)
    for first in range(0, 10_000, 1_000):
        reports = reports_until_killed(open_named, first, chance.randint(1, 40), chance.uniform(0, 0.02))
        kept, redeemed = reports["kept"], reports["redeemed"]
        with closing(open_named("ledger")) as ledger:
            (charged,) = stands(ledger, f"payer {first}") or [0.0]
            assert charged - len(kept) in (0, 1)
            states = [state(ledger, number) for number in range(first, first + int(charged))]
            assert set(states) <= {"kept", "redeemed"}, "what is charged is kept"
            assert state(ledger, first + int(charged)) == "unknown", "what is kept is charged"
            found = [first + at for at, each in enumerate(states) if each == "redeemed"]
            assert found[: len(redeemed)] == redeemed and len(found) - len(redeemed) in (0, 1)
            assert all(
                redeem(ledger, challenge(number)) == b"answer to " + challenge(number) for number in kept
            )


def test_a_killed_server_forgets_nothing(tmp_path: Path) -> None:
    port = free_port()
    with running_redis(tmp_path, port) as (url, server), closing(RedisLedger(url)) as ledger:
        for number in range(20):
            keep(ledger, challenge(number), "ann", b"answer", LATER)
        for number in range(10):
            redeem(ledger, challenge(number))
        server.kill()
        server.wait(timeout=30)
        with pytest.raises(Unavailable, match=r"Redis on 127\.0\.0\.1 cannot be used"):
            stands(ledger, "ann")
        with running_redis(tmp_path, port):
            assert stands(ledger, "ann") == [20.0]
            assert [state(ledger, number) for number in range(20)] == ["redeemed"] * 10 + ["kept"] * 10


def test_a_server_that_lost_all_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    with running_redis(tmp_path, free_port()) as (url, _), closing(RedisLedger(url)) as ledger:
        keep(ledger, challenge(0), "ann", b"answer", LATER)
        ledger.check()
        with closing(Redis.from_url(url)) as client:
            client.flushall()
        for call in (ledger.check, partial(redeem, ledger, challenge(0)), partial(add, ledger, "ann", [1.0])):
            with pytest.raises(Unavailable, match="has lost what it was told"):
                call()
        with closing(RedisLedger(url)) as again:
            assert stands(again, "ann") is None, "whoever starts a gate again does so knowingly"


@pytest.mark.parametrize("setting", [("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")])
def test_a_server_that_may_forget_is_refused(tmp_path: Path, setting: tuple[str, str]) -> None:
    with running_redis(tmp_path, free_port()) as (url, _), closing(RedisLedger(url)) as ledger:
        ledger.check()
        with closing(Redis.from_url(url)) as client:
            client.config_set(*setting)
        with pytest.raises(Unavailable, match="may forget what it is told; it needs appendonly yes and"):
            ledger.check()
        with pytest.raises(ValueError, match="may forget what it is told"):
            RedisLedger(url)


def test_a_clock_that_is_ahead_deletes_nothing_live(redis_url: str) -> None:
    now = time.time()
    with closing(RedisLedger(redis_url, "ahead")) as ledger:
        keep(ledger, challenge(0), "ann", b"answer", now + 300)
        admitted(ledger, "ann", now, ANYTHING)
        assert ledger.sweep(now + 3600) == 0
        assert redeem(ledger, challenge(0), now + 3600) == b"answer"


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(SqliteLedger(path)) as ledger:
        keep(ledger, challenge(0), "ann", b"answer", LATER)
        assert len([*tmp_path.iterdir()]) == 3
        assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}
    path.chmod(0o644)
    with closing(SqliteLedger(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as other, other:
            other.execute("DROP TABLE challenges")
        ledger.check()
        with pytest.raises(Unavailable, match="the ledger cannot be used: no such table"):
            keep(ledger, challenge(0), "ann", b"answer", LATER)
        assert stands(ledger, "ann") is None


def test_a_lost_reply_is_not_asked_for_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read_response, lost = (
        AbstractConnection.read_response,
        iter([False, True]),
    )  # the second reply: the charge itself is done

    def lose_one(connection: AbstractConnection, *arguments: Any, **options: Any) -> Any:
        response = read_response(connection, *arguments, **options)
        if next(lost, False):
            raise RedisConnectionError
        return response

    with closing(RedisLedger(redis_url, "lossy")) as ledger:
        add(ledger, "ann", [1.0, 1.0])
        monkeypatch.setattr(AbstractConnection, "read_response", lose_one)
        with pytest.raises(Unavailable):
            add(ledger, "ann", [1.0, 1.0])
        assert stands(ledger, "ann") == [2.0, 2.0]
