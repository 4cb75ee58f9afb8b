"""The ledgers keep their promises: on times and limits, among threads, processes, and the killed."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from pow.gate.ledger import WINDOW_SECONDS, Booked, Ledger, LimitReached, Limits, NotRedeemable
from pow.gate.redis_ledger import RedisLedger
from pow.gate.sqlite_ledger import SqliteLedger

OpenNamed = Callable[[str], Ledger]
"""Opens the ledger of a name, a new one or one that is there; can be sent to another process."""

NOW = 100.0 * WINDOW_SECONDS
LATER = NOW + 1e6
ANYTHING = Limits(pending=10**6, requests_a_minute=10**6)


def open_sqlite(directory: Path, name: str) -> Ledger:
    return SqliteLedger(directory / f"{name}.db")


def open_redis(url: str, directory: str, name: str) -> Ledger:
    return RedisLedger(url, prefix=f"{directory} {name}")


@contextmanager
def running_redis(directory: Path, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL and the process of a server that keeps all it is told in a directory."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
    durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    process = subprocess.Popen([program, *where, *durable], stdout=subprocess.DEVNULL)
    try:
        url = f"redis://127.0.0.1:{port}/0"
        wait_for(url, process)
        yield url, process
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    with closing(Redis.from_url(url)) as client:
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(RedisConnectionError):
                client.ping()
                return
            time.sleep(0.02)
    pytest.fail("redis-server does not answer")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis"), free_port()) as (url, _):
        yield url


@pytest.fixture(params=["sqlite", "redis"])
def open_named(request: pytest.FixtureRequest, tmp_path: Path) -> OpenNamed:
    if request.param == "sqlite":
        return partial(open_sqlite, tmp_path)
    return partial(open_redis, request.getfixturevalue("redis_url"), tmp_path.name)


@pytest.fixture
def ledger(open_named: OpenNamed) -> Iterator[Ledger]:
    with closing(open_named("ledger")) as ledger:
        yield ledger


def challenge(number: int) -> bytes:
    return b"\x00challenge \xff" + number.to_bytes(8, "little")


def refusal(ledger: Ledger, account: str, now: float, limits: Limits) -> tuple[str, float]:
    with pytest.raises(LimitReached) as caught:
        ledger.admit(account, now, limits)
    return caught.value.which, caught.value.retry_after


def why_not(ledger: Ledger, id: bytes, now: float = NOW) -> str:
    with pytest.raises(NotRedeemable) as caught:
        ledger.redeem(id, now)
    return caught.value.why


def same(one: Booked | None, other: Booked | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.queries == other.queries and np.array_equal(one.revealed, other.revealed)


# Accounts


def test_an_account_is_found_by_its_key(ledger: Ledger) -> None:
    ledger.add_account("ann", b"\x00digest of ann's\xff")
    ledger.add_account("bérénice", b"digest of hers")
    assert ledger.find_account(b"\x00digest of ann's\xff") == "ann"
    assert ledger.find_account(b"digest of hers") == "bérénice"
    assert ledger.find_account(b"digest of nobody's") is None


def test_a_taken_name_or_key_is_refused(ledger: Ledger) -> None:
    ledger.add_account("ann", b"first")
    with pytest.raises(ValueError, match="account 'ann'"):
        ledger.add_account("ann", b"second")
    with pytest.raises(ValueError, match="account 'bob'"):
        ledger.add_account("bob", b"first")
    assert ledger.find_account(b"first") == "ann" and ledger.find_account(b"second") is None
    ledger.add_account("bob", b"second")


def test_a_removed_account_leaves_what_it_revealed(ledger: Ledger) -> None:
    ledger.add_account("ann", b"first")
    booked = ledger.book("ann", 3, np.array([0.5, 0.25]))
    assert ledger.remove_account("ann")
    assert ledger.find_account(b"first") is None
    assert not ledger.remove_account("ann")
    assert same(ledger.totals("ann"), booked)
    ledger.add_account("ann", b"second")
    assert ledger.find_account(b"second") == "ann"
    ledger.add_account("bob", b"first")


# Admission


@pytest.mark.parametrize("limits", [{"pending": 0}, {"requests_a_minute": 0}])
def test_a_limit_below_one_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(limits))} must be at least 1, not 0"):
        Limits(**{"pending": 1, "requests_a_minute": 1} | limits)


def test_requests_are_counted_within_a_window(ledger: Ledger) -> None:
    two = Limits(pending=1, requests_a_minute=2)
    ledger.admit("ann", NOW, two)
    ledger.admit("ann", NOW + 59.5, two)
    assert refusal(ledger, "ann", NOW, two) == ("rate", 60)
    assert refusal(ledger, "ann", NOW + 59.75, two) == ("rate", 0.25)
    ledger.admit("bob", NOW + 59.75, two)
    ledger.admit("ann", NOW + 60, two)
    ledger.admit("ann", NOW + 60, two)
    assert refusal(ledger, "ann", NOW + 60, two) == ("rate", 60)
    assert refusal(ledger, "ann", NOW + 119, Limits(1, 1)) == ("rate", 1)


def test_pending_challenges_are_limited_until_they_expire(ledger: Ledger) -> None:
    for number in range(3):
        ledger.keep(challenge(number), "ann", b"answer", NOW + 10.25 * (3 - number))
    ledger.keep(challenge(3), "bob", b"answer", NOW + 5)
    assert refusal(ledger, "ann", NOW, Limits(3, 9)) == ("pending", 10.25)
    assert refusal(ledger, "ann", NOW, Limits(2, 9)) == ("pending", 20.5)
    assert refusal(ledger, "ann", NOW, Limits(1, 9)) == ("pending", 30.75)
    assert refusal(ledger, "ann", NOW + 10, Limits(3, 9)) == ("pending", 0.25)
    ledger.admit("ann", NOW, Limits(4, 9))
    ledger.admit("bob", NOW, Limits(2, 9))
    ledger.admit("ann", NOW + 10.25, Limits(3, 9))


def test_expiries_are_exact(ledger: Ledger) -> None:
    expires = float(np.nextafter(1.76e9 + 0.1, math.inf))
    just_before = float(np.nextafter(expires, -math.inf))
    ledger.keep(challenge(0), "ann", b"answer", expires)
    assert refusal(ledger, "ann", just_before, Limits(1, 9)) == ("pending", expires - just_before)
    ledger.admit("ann", expires, Limits(1, 9))
    assert ledger.sweep(just_before) == 0
    assert why_not(ledger, challenge(0), expires) == "unknown"
    assert ledger.redeem(challenge(0), just_before) == b"answer"


def test_redeeming_makes_room(ledger: Ledger) -> None:
    one = Limits(pending=1, requests_a_minute=9)
    ledger.keep(challenge(0), "ann", b"answer", NOW + 30)
    assert refusal(ledger, "ann", NOW, one) == ("pending", 30)
    ledger.redeem(challenge(0), NOW)
    ledger.admit("ann", NOW, one)


def test_refused_requests_are_not_counted(ledger: Ledger) -> None:
    ledger.keep(challenge(0), "ann", b"answer", NOW + 30)
    for _ in range(5):
        assert refusal(ledger, "ann", NOW, Limits(1, 9))[0] == "pending"
    ledger.redeem(challenge(0), NOW)
    ledger.admit("ann", NOW, Limits(1, 1))
    for _ in range(5):
        assert refusal(ledger, "ann", NOW, Limits(1, 1))[0] == "rate"
    ledger.admit("ann", NOW, Limits(1, 2))


def test_threads_are_not_admitted_beyond_the_limit(ledger: Ledger, open_named: OpenNamed) -> None:
    def admitted(number: int) -> bool:
        with suppress(LimitReached):
            (ledger, another)[number % 2].admit("ann", NOW, Limits(1, 20))
            return True
        return False

    with closing(open_named("ledger")) as another, ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(admitted, range(80))) == 20


# Totals


def test_totals_are_the_running_sum(ledger: Ledger) -> None:
    assert ledger.totals("ann") is None
    generator = np.random.default_rng(0)
    running = np.zeros(7)
    for count in range(1, 40):
        revealed = generator.standard_normal(7) * 10.0 ** generator.integers(-12, 12, 7)
        running = running + revealed
        booked = ledger.book("ann", 3, revealed)
        assert same(booked, Booked(3 * count, running)) and booked.revealed.dtype == np.float64
        assert same(ledger.totals("ann"), booked)
    assert ledger.totals("bob") is None
    tiny = np.full(7, 5e-324)
    assert same(ledger.book("bob", 2**40, tiny), Booked(2**40, tiny))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_booked(ledger: Ledger, bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        ledger.book("ann", 1, np.array([1.0, bad]))
    assert ledger.totals("ann") is None
    booked = ledger.book("ann", 1, np.array([1.0, 1e308]))
    for revealed in ([bad, 1.0], [1.0, 1e308]):
        with pytest.raises(ValueError, match="not finite"):
            ledger.book("ann", 1, np.array(revealed))
    assert same(ledger.totals("ann"), booked)


def test_another_shape_is_not_booked(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="shape"):
        ledger.book("ann", 1, np.ones((1, 3)))
    booked = ledger.book("ann", 1, np.ones(3))
    for payer, shape in itertools.product(["ann", "bob"], [(2,), (4,), (0,), (), (1, 3)]):
        with pytest.raises(ValueError, match="shape"):
            ledger.book(payer, 1, np.ones(shape))
    assert same(ledger.totals("ann"), booked) and ledger.totals("bob") is None


def test_nothing_booked_by_threads_is_lost(ledger: Ledger, open_named: OpenNamed) -> None:
    def book(number: int) -> None:
        (ledger, another)[number % 2].book("ann", number, np.array([1.0, number / 8]))

    with closing(open_named("ledger")) as another, ThreadPoolExecutor(8) as threads:
        list(threads.map(book, range(100)))
    assert same(ledger.totals("ann"), Booked(4950, np.array([100, 4950 / 8])))


# Challenges


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
    ledger.admit("bob", NOW, Limits(1, 1))
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
    ledger.admit("ann", NOW - 1, Limits(2, 9))
    ledger.keep(challenge(3), "ann", b"again", NOW + 9)
    assert ledger.redeem(challenge(3), NOW) == b"again"


def test_sweeping_forgets_the_counts_of_past_windows(ledger: Ledger) -> None:
    one = Limits(pending=1, requests_a_minute=1)
    for now in (NOW - 1, NOW):
        ledger.admit("ann", now, one)
    ledger.sweep(NOW)
    ledger.admit("ann", NOW - 1, one)
    assert refusal(ledger, "ann", NOW, one) == ("rate", 60)


def test_a_swept_server_is_empty(redis_url: str) -> None:
    with closing(RedisLedger(redis_url, "swept")) as ledger, closing(Redis.from_url(redis_url)) as client:
        for number in range(2):
            ledger.keep(challenge(number), "ann", b"answer", NOW + 10)
            ledger.admit("ann", NOW, ANYTHING)
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


# What lasts


def test_a_ledger_opened_again_knows_all(open_named: OpenNamed) -> None:
    with closing(open_named("ledger")) as ledger:
        ledger.add_account("ann", b"digest")
        ledger.admit("ann", NOW, ANYTHING)
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
    context.set_forkserver_preload([pytest.__name__, "hypothesis.strategies", RedisLedger.__module__])
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


# Any sequence of methods


class DictLedger(Ledger):
    """What a ledger does, said as plainly as possible."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.requests: Counter[tuple[str, float]] = Counter()
        self.booked: dict[str, Booked] = {}
        self.challenges: dict[bytes, tuple[str, bytes, float]] = {}
        self.spent: set[bytes] = set()

    def add_account(self, account: str, key_digest: bytes) -> None:
        if account in self.keys or key_digest in self.keys.values():
            raise ValueError
        self.keys[account] = key_digest

    def find_account(self, key_digest: bytes) -> str | None:
        return next((account for account, digest in self.keys.items() if digest == key_digest), None)

    def remove_account(self, account: str) -> bool:
        return self.keys.pop(account, None) is not None

    def admit(self, account: str, now: float, limits: Limits) -> None:
        kept = {id: expires for id, (owner, _, expires) in self.challenges.items() if owner == account}
        pending = sorted(expires for id, expires in kept.items() if expires > now and id not in self.spent)
        if len(pending) >= limits.pending:
            raise LimitReached("pending", pending[len(pending) - limits.pending] - now)
        window = now // WINDOW_SECONDS
        if self.requests[account, window] >= limits.requests_a_minute:
            raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)
        self.requests[account, window] += 1

    def book(self, payer: str, queries: int, revealed: np.ndarray) -> Booked:
        before = self.booked.get(payer, Booked(0, np.zeros(2)))
        if revealed.shape != (2,) or not np.isfinite(before.revealed + revealed).all():
            raise ValueError
        self.booked[payer] = Booked(before.queries + queries, before.revealed + revealed)
        return self.booked[payer]

    def totals(self, payer: str) -> Booked | None:
        return self.booked.get(payer)

    def keep(self, challenge: bytes, account: str, answer: bytes, expires: float) -> None:
        if challenge in self.challenges:
            raise ValueError
        self.challenges[challenge] = account, answer, expires

    def redeem(self, challenge: bytes, now: float) -> bytes:
        _, answer, expires = self.challenges.get(challenge, ("", b"", now))
        if expires <= now:
            raise NotRedeemable("unknown")
        if challenge in self.spent:
            raise NotRedeemable("spent")
        self.spent.add(challenge)
        return answer

    def sweep(self, now: float) -> int:
        expired = {id for id, (_, _, expires) in self.challenges.items() if expires <= now}
        self.challenges = {id: kept for id, kept in self.challenges.items() if id not in expired}
        self.spent -= expired
        current = now // WINDOW_SECONDS
        self.requests = Counter({key: count for key, count in self.requests.items() if key[1] >= current})
        return len(expired)

    def close(self) -> None:
        pass


def outcome(ledger: Ledger, method: str, arguments: tuple[object, ...]) -> object:
    """What a method returned or raised, in a form that compares."""
    try:
        result = getattr(ledger, method)(*arguments)
    except ValueError:
        return ValueError
    except (LimitReached, NotRedeemable) as refused:
        return type(refused), refused.args
    return (result.queries, result.revealed.tolist()) if isinstance(result, Booked) else result


names, digests, times = (
    st.sampled_from(["ann", "bob"]),
    st.sampled_from([b"1", b"2"]),
    st.sampled_from([NOW, NOW + 0.5, NOW + 59.75, NOW + 60, NOW + 60.1]),
)
ids, limits = st.sampled_from([b"1", b"2", b"3"]), st.builds(Limits, st.integers(1, 2), st.integers(1, 3))
vectors = st.lists(st.floats(width=64), min_size=2, max_size=2).map(np.array)
CALLS = st.one_of(
    st.tuples(st.just("add_account"), st.tuples(names, digests)),
    st.tuples(st.just("find_account"), st.tuples(digests)),
    st.tuples(st.just("remove_account"), st.tuples(names)),
    st.tuples(st.just("admit"), st.tuples(names, times, limits)),
    st.tuples(st.just("book"), st.tuples(names, st.integers(0, 2**40), vectors)),
    st.tuples(st.just("totals"), st.tuples(names)),
    st.tuples(st.just("keep"), st.tuples(ids, names, st.binary(max_size=3), times)),
    st.tuples(st.just("redeem"), st.tuples(ids, times)),
    st.tuples(st.just("sweep"), st.tuples(times)),
)


def test_any_calls_do_what_they_say(open_named: OpenNamed) -> None:
    fresh_names = map(str, itertools.count())

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(CALLS, min_size=5, max_size=25))
    def check(calls: list[tuple[str, tuple[object, ...]]]) -> None:
        model = DictLedger()
        with closing(open_named(next(fresh_names))) as ledger, np.errstate(over="ignore", invalid="ignore"):
            for method, arguments in calls:
                assert outcome(ledger, method, arguments) == outcome(model, method, arguments)

    check()


# Opening


def test_many_open_a_new_ledger_at_once(open_named: OpenNamed) -> None:
    together = threading.Barrier(8)

    def add(number: int) -> None:
        together.wait(timeout=60)
        with closing(open_named("ledger")) as ledger:
            ledger.add_account(f"account {number}", bytes([number]))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(8)))
    with closing(open_named("ledger")) as ledger:
        assert all(ledger.find_account(bytes([number])) == f"account {number}" for number in range(8))


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
    with pytest.raises(RedisConnectionError):
        RedisLedger(f"redis://127.0.0.1:{free_port()}/0")


@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_commits_reach_the_disk_as_chosen(tmp_path: Path, synchronous: str) -> None:
    with closing(SqliteLedger(tmp_path / "ledger.db", synchronous)) as ledger:  # type: ignore[arg-type]
        (level,) = ledger._connection.execute("PRAGMA synchronous").fetchone()
        assert level == {"full": 2, "normal": 1}[synchronous]
        assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(ValueError, match="one of full, normal, not 'off'"):
        SqliteLedger(tmp_path / "ledger.db", "off")  # type: ignore[arg-type]


def test_a_file_that_is_no_ledger_of_this_version_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "newer.db")) as database:
        database.execute("PRAGMA user_version = 7")
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE guests (name TEXT)")
    (tmp_path / "text.db").write_text("Dear diary, " * 1000)
    for name, error, said in [
        ("newer.db", ValueError, r"newer\.db is a ledger of version 7; this program reads 1"),
        ("other.db", ValueError, r"other\.db is not a ledger"),
        ("text.db", OSError, r"text\.db cannot be opened as a ledger: file is not a database"),
        ("no/such.db", OSError, r"such\.db cannot be opened as a ledger: unable to open"),
    ]:
        with pytest.raises(error, match=said):
            SqliteLedger(tmp_path / name)
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
