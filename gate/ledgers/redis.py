"""This ledger uses one Redis server, for a gate on several machines."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from gate.ledgers import redis_scripts as scripts
from gate.ledgers.base import (
    STRANGERS,
    WINDOW_SECONDS,
    Account,
    Attempt,
    Charge,
    Ledger,
    LimitReached,
    Limits,
    NotRedeemable,
    NotRepeatable,
    Unavailable,
)

TIMEOUT_SECONDS = 5.0
"""Seconds that a method waits for the server before it fails."""

DURABLE = {"aof_enabled": "1", "maxmemory_policy": "noeviction"}
"""What a server's INFO must say, or it may forget what it was told."""


class RedisLedger(Ledger):
    """A ledger on a Redis server. Each method is one command or one script, which Redis runs atomically.

    The server must have `appendonly yes` and no evictions; to outlive a power cut, `appendfsync always`. Once
    it has lost what it was told, no method works: a gate must be started again, knowingly. Where the clock of
    the caller is ahead of the server's, the server's counts.

    Args:
        url: `redis://...` of the server.
        prefix: Prefix of all keys, so that several ledgers can share a server.

    Raises:
        Unavailable: The server cannot be reached. A method that raises it may have taken effect.
        ValueError: The server keeps nothing, or may throw away what it keeps.
    """

    def __init__(self, url: str, prefix: str = "tollgate") -> None:
        self._name, self._prefix = urlsplit(url).hostname, f"{{{prefix}}}:"
        with self._talking():
            self._client = Redis.from_url(
                url,
                # A method whose reply was lost must not be tried again: it might be charged twice.
                retry=Retry(NoBackoff(), 0),
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
            )
            self._scripts = {
                name: self._client.register_script(scripts.PRELUDE + text)
                for name, text in scripts.SCRIPTS.items()
            }
        self._check_durable()
        with self._talking():
            self._client.set(self._prefix + "identity", secrets.token_hex(8), nx=True)
            self._identity: Any = self._client.get(self._prefix + "identity")
            self._counted = _text(self._client.get(self._prefix + "counting") or b"")

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Raise Unavailable, in one sentence without a password, where the server fails."""
        try:
            yield
        except RedisError as error:
            raise Unavailable(f"Redis on {self._name} cannot be used: {error}") from error

    def _run(self, name: str, *arguments: Any) -> Any:
        with self._talking():
            result = self._scripts[name](keys=[self._prefix], args=[self._identity, *arguments])
        if result == b"lost":
            raise Unavailable(
                f"Redis on {self._name} has lost what it was told; restore its file, or start the gates "
                "again to begin without accounts and totals"
            )
        return result

    def _check_durable(self) -> None:
        with self._talking():
            told = {**self._client.info("persistence"), **self._client.info("memory")}
        wrong = [name for name, value in DURABLE.items() if str(told.get(name)) != value]
        if wrong:
            needed = "appendonly yes and maxmemory-policy noeviction"
            raise ValueError(f"Redis on {self._name} may forget what it is told; it needs {needed}")

    def check(self) -> None:
        """See Ledger."""
        try:
            self._check_durable()
        except ValueError as error:
            raise Unavailable(str(error)) from error
        self._run("check")

    # Accounts

    def add_account(self, account: str, key_digest: bytes) -> None:
        """See Ledger."""
        if not self._run("add_account", account, key_digest):
            raise ValueError(f"there is an account {account!r} already, or its key is taken")

    def open_account(
        self, account: str, key_digest: bytes, challenge: bytes, now: float, expires: float, most: int
    ) -> None:
        """See Ledger."""
        window = int(now // WINDOW_SECONDS)
        arguments = (account, key_digest, challenge, float(expires), STRANGERS, window, most)
        result = self._run("open_account", *arguments)
        if result == b"spent":
            raise NotRedeemable("spent")
        if result == b"rate":
            raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)
        if result == b"taken":
            raise ValueError(f"there is an account {account!r} already, or its key is taken")

    def find_account(self, key_digest: bytes) -> Account | None:
        """See Ledger."""
        name, changes = self._run("find_account", key_digest)
        return _account(name, changes) if name else None

    def accounts(self) -> list[Account]:
        """See Ledger."""
        rows = self._run("accounts")
        found = [_account(name, changes) for name, changes in zip(rows[::2], rows[1::2], strict=True)]
        return sorted(found, key=lambda account: account.name)

    def change_account(self, account: Account) -> bool:
        """See Ledger."""
        changes = [account.disabled, account.pending, account.requests_a_minute]
        return bool(self._run("change_account", account.name, json.dumps(changes)))

    def remove_account(self, account: str) -> bool:
        """See Ledger."""
        return bool(self._run("remove_account", account))

    # Requests

    def admit(
        self,
        account: str,
        challenge: bytes,
        now: float,
        until: float,
        limits: Limits,
        attempt: Attempt | None = None,
    ) -> str | None:
        """See Ledger."""
        window = int(now // WINDOW_SECONDS)
        counts = (window, limits.pending, limits.requests_a_minute)
        told = (attempt.key, attempt.digest) if attempt else ("", b"")
        result = self._run("admit", account, challenge, float(now), float(until), *counts, *told)
        match result:
            case [b"repeated", token]:
                return _text(token)
            case [b"pending", expires]:
                raise LimitReached("pending", float(expires) - now)
            case [b"rate"]:
                raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)
            case [b"another"]:
                raise NotRepeatable("another")
            case [b"in progress"]:
                raise NotRepeatable("in progress")
            case [b"taken"]:
                raise ValueError(f"the id {challenge.hex()} is taken")
        return None

    def give_up(self, challenge: bytes) -> None:
        """See Ledger."""
        self._run("give_up", challenge)

    def charge(
        self, challenge: bytes, account: str, payer: str, change: Callable[[np.ndarray | None], Charge]
    ) -> Charge:
        """See Ledger."""
        while True:
            with self._talking():
                before: Any = self._client.hget(self._standings, payer) or b""
            charge = change(_numbers(before) if before else None)
            after, settles = (
                np.asarray(each, dtype="<f8").tobytes() for each in (charge.numbers, charge.settles)
            )
            kept = (challenge, account, charge.answer, charge.token, float(charge.expires), settles)
            result = self._run("charge", self._standings, payer, before, after, *kept)
            if result == b"taken":
                raise ValueError(f"an answer to challenge {challenge.hex()} was kept before")
            if result == b"charged":
                return charge

    def redeemed(self, challenge: bytes, now: float) -> bytes | None:
        """See Ledger."""
        state, answer = self._found("find", challenge, float(now))
        return answer if state == b"redeemed" else None

    def redeem(self, challenge: bytes, now: float, remembered: int) -> bytes:
        """See Ledger."""
        return self._found("redeem", challenge, float(now), remembered)[1]

    def _found(self, script: str, *arguments: Any) -> tuple[bytes, bytes]:
        """Run a script that gives a challenge's state and answer; raise NotRedeemable without an answer."""
        result = self._run(script, *arguments)
        if len(result) == 1:
            raise NotRedeemable("spent" if result[0] == b"spent" else "unknown")
        return result[0], result[1]

    # Standings

    @property
    def _standings(self) -> str:
        """The key of the numbers that count what this ledger counts."""
        return f"{self._prefix}standings:{self._counted}"

    def count_as(self, counted: str, anew: bool = False) -> str | None:
        """See Ledger."""
        before = self._run("count_as", counted, int(anew))
        if before:
            return _text(before[0])
        self._counted = counted
        return None

    def standings(self) -> dict[str, np.ndarray]:
        """See Ledger."""
        with self._talking():
            rows: Any = self._client.hgetall(self._standings)
        return {_text(payer): _numbers(blob) for payer, blob in rows.items()}

    def reset(self, payer: str) -> bool:
        """See Ledger."""
        with self._talking():
            return bool(self._client.hdel(self._standings, payer))

    # The rest

    def signing_keys(self) -> list[bytes]:
        """See Ledger."""
        return list(self._run("signing_keys"))

    def add_signing_key(self, key: bytes, keep: int) -> list[bytes]:
        """See Ledger."""
        return list(self._run("add_signing_key", key, keep))

    def flush(self) -> None:
        """See Ledger: the server does it with each call, if `appendfsync` says always."""

    def sweep(self, now: float) -> int:
        """See Ledger."""
        return int(self._run("sweep", float(now)))

    def close(self) -> None:
        """See Ledger."""
        self._client.close()


def _account(name: bytes, changes: bytes | None) -> Account:
    return Account(_text(name), *(json.loads(changes) if changes else ()))


def _numbers(packed: bytes) -> np.ndarray:
    return np.frombuffer(packed, "<f8").astype(np.float64)


def _text(reply: Any) -> str:
    """The text of a reply; a client that decodes replies gives it so."""
    return reply.decode() if isinstance(reply, bytes) else str(reply)
