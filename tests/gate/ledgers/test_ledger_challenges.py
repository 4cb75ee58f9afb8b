"""Ledgers give each answer once, to one of many threads and processes, and forget what expired."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, suppress

import numpy as np
import pytest
from redis import Redis

from gate.ledgers.base import Booked, Ledger, Limits, NotRedeemable
from gate.ledgers.redis import RedisLedger
from support.gates.ledgers import ANYTHING, LATER, NOW, OpenNamed, admitted, challenge, refusal, same, why_not


def test_an_answer_is_given_once(ledger: Ledger) -> None:
    ledger.keep(challenge(0), "ann", b"\x00answer\xff", NOW + 10)
    ledger.keep(challenge(1), "ann", b"", NOW + 10)
    assert ledger.redeem(challenge(0), NOW) == b"\x00answer\xff"
    assert ledger.redeem(challenge(1), NOW) == b""
    assert [why_not(ledger, challenge(number)) for number in range(3)] == ["spent", "spent", "unknown"]


def test_a_taken_challenge_is_refused(ledger: Ledger) -> None:
    ledger.keep(challenge(0), "ann", b"first", NOW + 10)
    with pytest.raises(ValueError, match=challenge(0).hex()):
        ledger.keep(challenge(0), "bob", b"second", NOW + 99)
    admitted(ledger, "bob", NOW, Limits(1, 1))
    assert ledger.redeem(challenge(0), NOW) == b"first"
    with pytest.raises(ValueError, match=challenge(0).hex()):
        ledger.keep(challenge(0), "ann", b"third", NOW + 99)
    assert why_not(ledger, challenge(0)) == "spent"


def test_an_expired_challenge_is_unknown(ledger: Ledger) -> None:
    for number in range(2):
        ledger.keep(challenge(number), "ann", b"answer", NOW + 10)
    ledger.redeem(challenge(0), NOW + 9.75)
    assert [why_not(ledger, challenge(number), NOW + 10) for number in range(2)] == ["unknown"] * 2
    assert why_not(ledger, challenge(1), LATER) == "unknown"


def test_sweeping_forgets_what_expired(ledger: Ledger) -> None:
    assert ledger.sweep(NOW) == 0
    for number in range(6):
        ledger.keep(challenge(number), "ann", b"answer", NOW + number)
    ledger.redeem(challenge(0), NOW - 1)
    assert ledger.sweep(NOW + 3) == 4
    assert ledger.sweep(NOW + 3) == 0
    assert why_not(ledger, challenge(3), NOW - 1) == "unknown"
    assert ledger.redeem(challenge(4), NOW + 3) == b"answer"
    assert refusal(ledger, "ann", NOW - 1, Limits(1, 9)) == ("pending", 6)
    admitted(ledger, "ann", NOW - 1, Limits(2, 9))
    ledger.keep(challenge(3), "ann", b"again", NOW + 9)
    assert ledger.redeem(challenge(3), NOW) == b"again"


def test_sweeping_forgets_the_counts_of_past_windows(ledger: Ledger) -> None:
    one = Limits(pending=1, requests_a_minute=1)
    for now in (NOW - 1, NOW):
        admitted(ledger, "ann", now, one)
    ledger.sweep(NOW)
    admitted(ledger, "ann", NOW - 1, one)
    assert refusal(ledger, "ann", NOW, one) == ("rate", 60)


def test_a_swept_server_is_empty(redis_url: str) -> None:
    with closing(RedisLedger(redis_url, "swept")) as ledger, closing(Redis.from_url(redis_url)) as client:
        for number in range(2):
            ledger.keep(challenge(number), "ann", b"answer", NOW + 10)
            admitted(ledger, "ann", NOW, ANYTHING)
        ledger.redeem(challenge(0), NOW)
        assert client.keys("{swept}:*")
        assert ledger.sweep(LATER) == 2
        assert not client.keys("{swept}:*")


def test_of_many_threads_one_redeems(ledger: Ledger) -> None:
    ids = [challenge(number) for number in range(50)]
    for id in ids:
        ledger.keep(id, "ann", b"answer to " + id, LATER)
    together = threading.Barrier(16)

    def redeem_all(_: int) -> list[bytes]:
        answers = []
        for id in ids:
            together.wait(timeout=60)
            with suppress(NotRedeemable):
                answers.append(ledger.redeem(id, NOW))
        return answers

    with ThreadPoolExecutor(16) as threads:
        answers = Counter(itertools.chain.from_iterable(threads.map(redeem_all, range(16))))
    assert answers == Counter(b"answer to " + id for id in ids)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as processes:
        yield processes


def redeem_and_book(open_named: OpenNamed, ids: list[bytes]) -> list[bytes]:
    answers = []
    with closing(open_named("ledger")) as ledger:
        wait_for_four(ledger)
        for number, id in enumerate(ids):
            with suppress(NotRedeemable):
                answers.append(ledger.redeem(id, NOW))
            if number % 10 == 0:
                ledger.book("ann", 1, np.array([0.25, number]))
    return answers


def wait_for_four(ledger: Ledger) -> None:
    booked, deadline = ledger.book("present", 1, np.zeros(2)), time.monotonic() + 60
    while booked.queries < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
        booked = ledger.totals("present") or booked


def test_of_many_processes_one_redeems(
    ledger: Ledger, open_named: OpenNamed, processes: ProcessPoolExecutor
) -> None:
    ids = [challenge(number) for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda one: ledger.keep(one, "ann", b"answer to " + one, LATER), ids))
    each = list(processes.map(redeem_and_book, [open_named] * 4, [ids] * 4))
    assert Counter(itertools.chain.from_iterable(each)) == Counter(b"answer to " + id for id in ids)
    assert same(ledger.totals("present"), Booked(4, np.zeros(2)))
    assert same(ledger.totals("ann"), Booked(4 * 20, np.array([0.25 * 80, 4 * sum(range(0, 200, 10))])))
