"""What ledgers were told lasts: when they are opened again, and when a process or a server is killed."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import signal
import time
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from gate.ledgers.base import Booked, Ledger, Limits, NotRedeemable
from gate.ledgers.redis import RedisLedger
from support.gates.ledgers import (
    ANYTHING,
    LATER,
    NOW,
    OpenNamed,
    admitted,
    challenge,
    free_port,
    refusal,
    running_redis,
    same,
    why_not,
)


def test_a_ledger_opened_again_knows_all(open_named: OpenNamed) -> None:
    with closing(open_named("ledger")) as ledger:
        ledger.add_account("ann", b"digest")
        admitted(ledger, "ann", NOW, ANYTHING)
        booked = ledger.book("ann", 3, np.array([0.1, 0.2]))
        for number in range(2):
            ledger.keep(challenge(number), "ann", b"answer", NOW + 30)
        ledger.redeem(challenge(0), NOW)
    with closing(open_named("another")) as ledger:
        assert ledger.find_account(b"digest") is None and ledger.totals("ann") is None
    with closing(open_named("ledger")) as ledger:
        assert ledger.find_account(b"digest") == "ann"
        assert refusal(ledger, "ann", NOW, Limits(2, 1)) == ("rate", 60)
        assert refusal(ledger, "ann", NOW, Limits(1, 9)) == ("pending", 30)
        assert same(ledger.totals("ann"), booked)
        assert why_not(ledger, challenge(0)) == "spent"
        assert ledger.redeem(challenge(1), NOW) == b"answer"


def work_until_killed(open_named: OpenNamed, first: int, sender: Connection) -> None:
    """Book, keep, and redeem two of three; report each as soon as it is done."""
    ledger = open_named("ledger")
    for number in itertools.count(first):
        ledger.book(f"payer {first}", 1, np.array([number, 1.0]))
        sender.send(("booked", number))
        ledger.keep(challenge(number), "ann", b"answer to " + challenge(number), LATER)
        sender.send(("kept", number))
        if number % 3:
            ledger.redeem(challenge(number), NOW)
            sender.send(("redeemed", number))


def reports_until_killed(open_named: OpenNamed, first: int, after: int, wait: float) -> dict[str, list[int]]:
    """The reports of a process killed so many seconds after its first `after` reports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([pytest.__name__, RedisLedger.__module__])
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=work_until_killed, args=(open_named, first, sender))
    worker.start()
    sender.close()
    reports: dict[str, list[int]] = {"booked": [], "kept": [], "redeemed": []}
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


def redeemable(ledger: Ledger, number: int) -> bool:
    with suppress(NotRedeemable):
        assert ledger.redeem(challenge(number), NOW) == b"answer to " + challenge(number)
        return True
    return False


def test_what_a_killed_process_did_is_done(open_named: OpenNamed) -> None:
    chance = random.Random(0)
    for first in range(0, 10_000, 1_000):
        reports = reports_until_killed(open_named, first, chance.randint(1, 40), chance.uniform(0, 0.02))
        booked, kept, redeemed = reports["booked"], reports["kept"], reports["redeemed"]
        with closing(open_named("ledger")) as ledger:
            totals = ledger.totals(f"payer {first}") or Booked(0, np.zeros(2))
            assert totals.queries - len(booked) in (0, 1)
            numbers = np.arange(first, first + totals.queries)
            assert same(totals, Booked(len(numbers), np.array([numbers.sum(), len(numbers)])))
            assert not any(redeemable(ledger, number) for number in redeemed)
            unreported = [number for number in kept if number not in redeemed]
            gone = [number for number in unreported if not redeemable(ledger, number)]
            assert gone in ([], kept[-1:]) and all(number % 3 for number in gone)
            assert not any(redeemable(ledger, number) for number in kept)


def test_a_killed_server_forgets_nothing(tmp_path: Path) -> None:
    port = free_port()
    with running_redis(tmp_path, port) as (url, server), closing(RedisLedger(url)) as ledger:
        for number in range(20):
            ledger.keep(challenge(number), "ann", b"answer", LATER)
            ledger.book("ann", 1, np.array([number / 8]))
        for number in range(10):
            ledger.redeem(challenge(number), NOW)
        server.kill()
        server.wait(timeout=30)
        with pytest.raises(RedisConnectionError):
            ledger.totals("ann")
        with running_redis(tmp_path, port):
            assert same(ledger.totals("ann"), Booked(20, np.array([190 / 8])))
            assert {why_not(ledger, challenge(number)) for number in range(10)} == {"spent"}
            assert all(ledger.redeem(challenge(number), NOW) == b"answer" for number in range(10, 20))


def test_a_lost_reply_is_not_asked_for_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read_response, lost = AbstractConnection.read_response, iter([True])

    def lose_one(connection: AbstractConnection, *arguments: Any, **options: Any) -> Any:
        response = read_response(connection, *arguments, **options)
        if next(lost, False):
            raise RedisConnectionError
        return response

    with closing(RedisLedger(redis_url, "lossy")) as ledger:
        ledger.book("ann", 1, np.ones(2))
        monkeypatch.setattr(AbstractConnection, "read_response", lose_one)
        with pytest.raises(RedisConnectionError):
            ledger.book("ann", 1, np.ones(2))
        assert same(ledger.totals("ann"), Booked(2, np.full(2, 2.0)))
