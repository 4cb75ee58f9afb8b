"""Ledgers give each answer once, to one of many threads and processes, and forget what expired."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest
from redis import Redis

from gate.ledgers.base import Attempt, Ledger, LimitReached, Limits, NotRedeemable, NotRepeatable
from gate.ledgers.redis import RedisLedger
from support.gates.ledgers import (
    ANYTHING,
    LATER,
    NOW,
    OpenNamed,
    add,
    admitted,
    challenge,
    keep,
    redeem,
    refusal,
    stands,
    why_not,
)


def test_an_answer_is_given_again_until_it_expires(ledger: Ledger) -> None:
    keep(ledger, challenge(0), "ann", b"\x00answer\xff", NOW + 10)
    keep(ledger, challenge(1), "ann", b"", NOW + 10)
    assert redeem(ledger, challenge(0), NOW) == b"\x00answer\xff"
    assert redeem(ledger, challenge(1), NOW) == b""
    assert (
        ledger.redeemed(challenge(0), NOW) == b"\x00answer\xff" and ledger.redeemed(challenge(1), NOW) == b""
    )
    assert redeem(ledger, challenge(0), NOW + 9) == b"\x00answer\xff"
    assert [why_not(ledger, challenge(number), NOW + 10) for number in range(3)] == ["unknown"] * 3


def test_what_is_not_redeemed_yet_is_not_given(ledger: Ledger) -> None:
    keep(ledger, challenge(0), "ann", b"answer", NOW + 10)
    assert ledger.redeemed(challenge(0), NOW) is None
    for id, now in ((challenge(1), NOW), (challenge(0), NOW + 10)):
        with pytest.raises(NotRedeemable, match="unknown"):
            ledger.redeemed(id, now)


def test_the_last_answers_of_an_account_are_remembered(ledger: Ledger) -> None:
    for number in range(6):
        keep(ledger, challenge(number), "ann", b"%d" % number, NOW + 10)
    keep(ledger, challenge(9), "bob", b"9", NOW + 10)
    redeem(ledger, challenge(9), NOW, 2)
    for number in (4, 1, 3, 0, 2):
        assert redeem(ledger, challenge(number), NOW, 2) == b"%d" % number
        assert redeem(ledger, challenge(number), NOW, 2) == b"%d" % number
    assert [why_not(ledger, challenge(number)) for number in (4, 1, 3)] == ["spent"] * 3
    with pytest.raises(NotRedeemable, match="spent"):
        ledger.redeemed(challenge(4), NOW)
    assert [redeem(ledger, challenge(number)) for number in (0, 2, 9, 5)] == [b"0", b"2", b"9", b"5"]


# Attempts


def attempt(
    ledger: Ledger, number: int, key: str, digest: bytes = b"body", account: str = "ann"
) -> str | None:
    return ledger.admit(account, challenge(number), NOW, NOW + 30, ANYTHING, Attempt(key, digest))


def why_not_again(ledger: Ledger, *arguments: Any) -> str:
    with pytest.raises(NotRepeatable) as caught:
        attempt(ledger, *arguments)
    return caught.value.why


def test_the_same_attempt_brings_the_same_challenge_and_holds_nothing(ledger: Ledger) -> None:
    assert attempt(ledger, 0, "one") is None
    assert why_not_again(ledger, 1, "one") == "in progress"
    keep(ledger, challenge(0), "ann", b"answer", NOW + 60)
    assert attempt(ledger, 1, "one") == "token" == attempt(ledger, 2, "one")
    assert why_not_again(ledger, 1, "one", b"another") == "another"
    assert attempt(ledger, 1, "two") is None
    assert attempt(ledger, 2, "one", account="bob") is None, "another account's key is another one"
    assert redeem(ledger, challenge(0)) == b"answer"
    assert attempt(ledger, 3, "one") == "token", "also once it is redeemed"
    assert refusal(ledger, "ann", NOW, Limits(1, 9)) == ("pending", 30), "only the second one is open"


def test_attempts_are_counted_however_often_they_come(ledger: Ledger) -> None:
    few = (NOW, NOW + 30, Limits(9, 3), Attempt("one", b"body"))
    assert ledger.admit("ann", challenge(0), *few) is None
    keep(ledger, challenge(0), "ann", b"answer", NOW + 60)
    assert [ledger.admit("ann", challenge(1), *few) for _ in range(2)] == ["token"] * 2
    with pytest.raises(LimitReached, match="rate"):
        ledger.admit("ann", challenge(1), *few)


def test_an_attempt_is_forgotten_with_its_challenge(ledger: Ledger) -> None:
    assert attempt(ledger, 0, "one") is None
    ledger.give_up(challenge(0))
    assert attempt(ledger, 1, "one", b"another") is None
    keep(ledger, challenge(1), "ann", b"answer", NOW + 20)
    later = (NOW + 20, NOW + 50, ANYTHING, Attempt("one", b"body"))
    assert ledger.admit("ann", challenge(2), *later) is None, "what has expired is asked anew"
    with pytest.raises(NotRedeemable):
        ledger.redeemed(challenge(1), NOW)
    assert ledger.sweep(LATER) == 1
    assert attempt(ledger, 3, "one") is None


def test_of_many_threads_with_one_attempt_one_is_admitted(ledger: Ledger, open_named: OpenNamed) -> None:
    with closing(open_named("ledger")) as another, ThreadPoolExecutor(8) as threads:

        def admitted(number: int) -> bool:
            with suppress(NotRepeatable):
                return attempt((ledger, another)[number % 2], number, "one") is None
            return False

        assert sum(threads.map(admitted, range(40))) == 1
    assert ledger.sweep(LATER) == 1


def test_a_taken_challenge_is_refused(ledger: Ledger) -> None:
    keep(ledger, challenge(0), "ann", b"first", NOW + 10)
    with pytest.raises(ValueError, match=challenge(0).hex()):
        keep(ledger, challenge(0), "bob", b"second", NOW + 99)
    admitted(ledger, "bob", NOW, Limits(1, 1))
    assert redeem(ledger, challenge(0), NOW) == b"first"
    with pytest.raises(ValueError, match=challenge(0).hex()):
        keep(ledger, challenge(0), "ann", b"third", NOW + 99)
    assert redeem(ledger, challenge(0), NOW) == b"first"


def test_an_expired_challenge_is_unknown(ledger: Ledger) -> None:
    for number in range(2):
        keep(ledger, challenge(number), "ann", b"answer", NOW + 10)
    redeem(ledger, challenge(0), NOW + 9.75)
    assert [why_not(ledger, challenge(number), NOW + 10) for number in range(2)] == ["unknown"] * 2
    assert why_not(ledger, challenge(1), LATER) == "unknown"


def test_sweeping_forgets_what_expired(ledger: Ledger) -> None:
    assert ledger.sweep(NOW) == 0
    for number in range(6):
        keep(ledger, challenge(number), "ann", b"answer", NOW + number)
    redeem(ledger, challenge(0), NOW - 1)
    assert ledger.sweep(NOW + 3) == 4
    assert ledger.sweep(NOW + 3) == 0
    assert why_not(ledger, challenge(3), NOW - 1) == "unknown"
    assert redeem(ledger, challenge(4), NOW + 3) == b"answer"
    assert refusal(ledger, "ann", NOW - 1, Limits(1, 9)) == ("pending", 6)
    admitted(ledger, "ann", NOW - 1, Limits(2, 9))
    keep(ledger, challenge(3), "ann", b"again", NOW + 9)
    assert redeem(ledger, challenge(3), NOW) == b"again"


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
            keep(ledger, challenge(number), "ann", b"answer", NOW + 10)
            admitted(ledger, "ann", NOW, ANYTHING)
        redeem(ledger, challenge(0), NOW)
        assert client.keys("{swept}:*")
        assert ledger.sweep(LATER) == 2
        left = {bytes(key).decode().removeprefix("{swept}:") for key in client.keys("{swept}:*")}  # type: ignore[arg-type]
        assert left == {"identity", "standings:", "redemptions"}, "what is for ever"


def test_many_threads_redeem_the_same_answer(ledger: Ledger) -> None:
    keep(ledger, challenge(0), "ann", b"answer", LATER)
    together = threading.Barrier(16)

    def one(_: int) -> bytes:
        together.wait(timeout=60)
        return redeem(ledger, challenge(0))

    with ThreadPoolExecutor(16) as threads:
        assert {*threads.map(one, range(16))} == {b"answer"}


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as processes:
        yield processes


def redeem_and_charge(open_named: OpenNamed, ids: list[bytes]) -> list[bytes]:
    with closing(open_named("ledger")) as ledger:
        wait_for_four(ledger)
        for number in range(0, len(ids), 10):
            add(ledger, "ann", [0.25, number])
        return [redeem(ledger, id) for id in ids]


def wait_for_four(ledger: Ledger) -> None:
    add(ledger, "present", [1.0])
    deadline = time.monotonic() + 60
    while stands(ledger, "present") != [4.0] and time.monotonic() < deadline:
        time.sleep(0.001)


def test_many_processes_share_a_ledger(
    ledger: Ledger, open_named: OpenNamed, processes: ProcessPoolExecutor
) -> None:
    ids = [challenge(number) for number in range(100)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda one: keep(ledger, one, "ann", b"answer to " + one, LATER, "anybody"), ids))
    each = list(processes.map(redeem_and_charge, [open_named] * 4, [ids] * 4))
    assert each == [[b"answer to " + id for id in ids]] * 4
    assert stands(ledger, "present") == [4.0]
    assert stands(ledger, "ann") == [0.25 * 40, 4 * sum(range(0, 100, 10))]
