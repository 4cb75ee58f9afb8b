"""Ledgers in SQLite and on a Redis server, and what tests ask of either."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from gate.ledgers.base import WINDOW_SECONDS, Charge, Ledger, LimitReached, Limits, NotRedeemable
from gate.ledgers.redis import RedisLedger
from gate.ledgers.sqlite import SqliteLedger
from support.missing import program

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
    redis_server = program("redis-server")
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
    durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
    process = subprocess.Popen([redis_server, *where, *durable], stdout=subprocess.DEVNULL)
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


def admitted(ledger: Ledger, account: str, now: float, limits: Limits) -> None:
    """Admit a request of which no challenge comes."""
    id = secrets.token_bytes(8)
    ledger.admit(account, id, now, LATER, limits)
    ledger.give_up(id)


def refusal(ledger: Ledger, account: str, now: float, limits: Limits) -> tuple[str, float]:
    with pytest.raises(LimitReached) as caught:
        admitted(ledger, account, now, limits)
    return caught.value.which, caught.value.retry_after


def why_not(ledger: Ledger, id: bytes, now: float = NOW) -> str:
    with pytest.raises(NotRedeemable) as caught:
        ledger.redeem(id, now, 10**6)
    return caught.value.why


def charge_of(
    numbers: np.ndarray | None, added: np.ndarray, answer: bytes, expires: float, back: float = 0.0
) -> Charge:
    """A charge that adds to a payer's numbers, and takes a share of the first back when it is redeemed."""
    now = added if numbers is None else numbers + added
    return Charge(now, answer, "token", expires, settles=-back * added[:1])


def keep(
    ledger: Ledger, id: bytes, account: str, answer: bytes, expires: float, payer: str | None = None
) -> None:
    """Keep an answer, and count one for its payer, by default the account."""
    change = partial(charge_of, added=np.ones(1), answer=answer, expires=expires)
    ledger.charge(id, account, payer or account, change)


def add(ledger: Ledger, payer: str, numbers: list[float]) -> list[float]:
    """Add to a payer's numbers, and return what they are then."""
    change = partial(charge_of, added=np.array(numbers), answer=b"", expires=LATER)
    after: list[float] = ledger.charge(secrets.token_bytes(8), "anybody", payer, change).numbers.tolist()
    return after


def stands(ledger: Ledger, payer: str) -> list[float] | None:
    """A payer's numbers."""
    numbers = ledger.standings().get(payer)
    return None if numbers is None else numbers.tolist()


def redeem(ledger: Ledger, id: bytes, now: float = NOW, remembered: int = 10**6) -> bytes:
    """The answer of a challenge."""
    return ledger.redeem(id, now, remembered)
