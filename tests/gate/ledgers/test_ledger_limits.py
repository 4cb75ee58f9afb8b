"""The limit of open challenges holds exactly: whoever is admitted has its place, and nobody else."""

from __future__ import annotations

import itertools
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from gate.gate import Gate
from gate.ledgers.base import Account, Ledger, Limits
from gate.problems import Problem
from gate.protocol import encode
from gate.steps import NPY
from pow.tariff import Standing
from support.gates.ledgers import (
    LATER,
    NOW,
    OpenNamed,
    admitted,
    challenge,
    keep,
    redeem,
    refusal,
    why_not,
)
from support.gates.over_http import HTTP, IMAGES, assert_refused, serving
from support.gates.server import METER, predict, small_ledger, small_service

ONE = Limits(pending=1, requests_a_minute=10**6)


def test_a_place_is_held_until_its_time(ledger: Ledger) -> None:
    ledger.admit("ann", challenge(0), NOW, NOW + 30.5, ONE)
    assert refusal(ledger, "ann", NOW, ONE) == ("pending", 30.5)
    admitted(ledger, "bob", NOW, ONE)
    admitted(ledger, "ann", NOW + 30.5, ONE)
    assert ledger.sweep(NOW + 30) == 0
    assert ledger.sweep(NOW + 30.5) == 1
    admitted(ledger, "ann", NOW, ONE)


def test_a_place_that_is_given_up_is_free(ledger: Ledger) -> None:
    ledger.admit("ann", challenge(0), NOW, NOW + 30, ONE)
    ledger.give_up(challenge(0))
    ledger.admit("ann", challenge(0), NOW, NOW + 30, ONE)
    ledger.give_up(challenge(1))
    assert refusal(ledger, "ann", NOW, ONE)[0] == "pending"


def test_an_answer_takes_its_place(ledger: Ledger) -> None:
    two = Limits(pending=2, requests_a_minute=9)
    ledger.admit("ann", challenge(0), NOW, NOW + 30, two)
    keep(ledger, challenge(0), "ann", b"answer", NOW + 60)
    assert refusal(ledger, "ann", NOW, ONE) == ("pending", 60)
    admitted(ledger, "ann", NOW, two)
    ledger.give_up(challenge(0))
    assert refusal(ledger, "ann", NOW, ONE) == ("pending", 60)
    assert redeem(ledger, challenge(0), NOW + 45) == b"answer"
    admitted(ledger, "ann", NOW, ONE)
    ledger.give_up(challenge(0))
    assert redeem(ledger, challenge(0), NOW + 45) == b"answer"


def test_an_answer_may_come_after_its_place_expired(ledger: Ledger) -> None:
    for number, sweeps in enumerate([False, True]):
        ledger.admit("ann", challenge(number), NOW, NOW + 30, Limits(2, 9))
        if sweeps:
            ledger.sweep(NOW + 31)
        keep(ledger, challenge(number), "ann", b"answer", NOW + 60)
        assert redeem(ledger, challenge(number), NOW + 45) == b"answer"


def test_nothing_is_released_from_a_place(ledger: Ledger) -> None:
    ledger.admit("ann", challenge(0), NOW, NOW + 30, ONE)
    assert why_not(ledger, challenge(0)) == "unknown"
    keep(ledger, challenge(0), "ann", b"answer", NOW + 60)
    assert redeem(ledger, challenge(0), NOW) == b"answer"


def test_a_taken_id_is_refused_and_not_counted(ledger: Ledger) -> None:
    once = Limits(pending=9, requests_a_minute=2)
    keep(ledger, challenge(0), "ann", b"answer", NOW + 60)
    ledger.admit("ann", challenge(1), NOW, NOW + 30, once)
    for number, account in itertools.product(range(2), ["ann", "bob"]):
        with pytest.raises(ValueError, match=challenge(number).hex()):
            ledger.admit(account, challenge(number), NOW, NOW + 30, once)
    with pytest.raises(ValueError, match=challenge(1).hex()):
        keep(ledger, challenge(1), "bob", b"in ann's place", NOW + 60)
    admitted(ledger, "ann", NOW, once)
    assert refusal(ledger, "ann", NOW, once)[0] == "rate"


def test_a_refused_request_takes_nothing_of_the_ledger(ledger: Ledger) -> None:
    ledger.admit("ann", challenge(0), NOW, NOW + 30, ONE)
    for number in range(1, 4):
        with suppress(Exception):
            ledger.admit("ann", challenge(number), NOW, NOW + 30, ONE)
    assert ledger.sweep(LATER) == 1


def test_of_many_at_once_as_many_as_may_are_asked(ledger: Ledger, open_named: OpenNamed) -> None:
    """Over two connections; what is refused is neither booked nor kept."""
    service = small_service(limits=Limits(pending=5, requests_a_minute=10**6))

    with closing(open_named("ledger")) as another, ThreadPoolExecutor(30) as threads:
        gates = [Gate(service, METER, each, lambda: NOW) for each in (ledger, another)]

        def ask(number: int) -> str:
            gate = gates[number % 2]
            try:
                id = gate.admit(Account("ann"))
                assert isinstance(id, bytes)
            except Problem as problem:
                return problem.reason
            gate.ask("ann", id, IMAGES, predict(IMAGES), METER.reveal(IMAGES, predict(IMAGES)))
            return "asked"

        said = list(threads.map(ask, range(60)))
    assert sorted(said) == ["asked"] * 5 + ["too_many_pending"] * 55
    assert Standing.of(ledger.standings()["ann"]).queries == 5 * len(IMAGES)
    assert ledger.sweep(LATER) == 5


def test_requests_that_fail_leave_room(tmp_path: Path) -> None:
    broken = True

    def fails_at_first(images: np.ndarray) -> np.ndarray:
        if broken:
            raise RuntimeError("the model broke")
        return predict(images)

    with serving(tmp_path, predict=fails_at_first, limits=ONE) as server:
        for _ in range(3):
            assert_refused(server.post("/v1/predict", b"no images", kind=NPY), 400, "malformed")
            assert_refused(server.post("/v1/predict", encode(IMAGES), kind=NPY), 500, "failure")
        broken = False
        server.ask()
        assert_refused(server.post("/v1/predict", encode(IMAGES), kind=NPY), 429, "too_many_pending")


def test_a_hundred_thousand_open_challenges(tmp_path: Path) -> None:
    """Of ten accounts, and as many expired ones: the server serves, refuses who is over, and sweeps."""
    with closing(small_ledger(tmp_path)) as ledger:
        now = 2e9  # long after the clocks of today
        rows = [
            (
                number.to_bytes(16),
                f"account-{number % 10}",
                b"answer",
                now if number < 100_000 else 1.0,
                "kept",
            )
            for number in range(200_000)
        ]
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database, database:
            columns = "(challenge, account, answer, expires, state)"
            database.executemany(f"INSERT INTO challenges {columns} VALUES (?, ?, ?, ?, ?)", rows)
            database.execute("UPDATE challenges SET account = 'alice' WHERE account = 'account-0'")
    with serving(tmp_path, limits=Limits(pending=64, requests_a_minute=10**6)) as server:
        server.check_that_it_serves()
        said = assert_refused(server.post("/v1/predict", encode(IMAGES), kind=NPY), 429, "too_many_pending")
        assert "64 challenges may be open" in said["detail"]
        assert server.queries() == 0
        assert HTTP.get(server.url + "/healthz").status_code == 200
    with closing(small_ledger(tmp_path)) as ledger:
        assert ledger.sweep(1e9) == 0, "the server has swept what expired"
        assert ledger.sweep(now + 1) == 100_000 + 2, "and two of bob's, redeemed"
