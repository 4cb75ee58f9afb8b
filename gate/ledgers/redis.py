"""This ledger uses one Redis server, for a gate on several machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from gate.ledgers.base import (
    STRANGERS,
    WINDOW_SECONDS,
    Booked,
    Ledger,
    LimitReached,
    Limits,
    NotRedeemable,
)

TIMEOUT_SECONDS = 10.0
"""Seconds that a method waits for the server before it fails."""

# Under the prefix the server holds:
#   accounts, keys              hashes from account to key digest, and back
#   totals:<payer>              hash with the payer's queries and what they revealed
#   standings                   hash with the numbers that are kept for each payer
#   width                       bytes of what a payer revealed
#   requests:<window>, windows  hash with each account's count, and the windows that have one
#   expiries                    challenges and places by the time they expire
#   owners, pending:<account>   hash from challenge to account, and an account's by the time they expire,
#                               until they are redeemed
#   answers                     hash from challenge to the answer that is kept
PRELUDE = """
local call = redis.call
local function key(name) return KEYS[1] .. name end
"""
ADD = """
local function add(account, digest)
    if call('HEXISTS', key('accounts'), account) == 1 or call('HEXISTS', key('keys'), digest) == 1 then
        return false
    end
    call('HSET', key('accounts'), account, digest)
    call('HSET', key('keys'), digest, account)
    return true
end
"""
ADD_ACCOUNT = """
return add(ARGV[1], ARGV[2]) and 1 or 0
"""
# Who asks once more than allowed is refused before anything is changed, since Redis undoes nothing.
COUNT = """
local function is_full(account, window, most)
    return tonumber(call('HGET', key('requests:' .. window), account) or 0) >= tonumber(most)
end
local function count(account, window)
    call('HINCRBY', key('requests:' .. window), account, 1)
    call('ZADD', key('windows'), window, window)
end
"""
OPEN_ACCOUNT = """
local account, digest, challenge, expires, strangers, window, most = unpack(ARGV)
if call('ZSCORE', key('expiries'), challenge) then return 'spent' end
if is_full(strangers, window, most) then return 'rate' end
if not add(account, digest) then return 'taken' end
count(strangers, window)
call('ZADD', key('expiries'), expires, challenge)
return 'opened'
"""
REMOVE_ACCOUNT = """
local digest = call('HGET', key('accounts'), ARGV[1])
if not digest then return 0 end
call('HDEL', key('accounts'), ARGV[1])
call('HDEL', key('keys'), digest)
return 1
"""
# An account at its limit may ask again when the limit-th challenge from the last to expire has expired.
ADMIT = """
local account, challenge, now, until_, window, most_pending, most_requests = unpack(ARGV)
local in_the_way = call('ZREVRANGEBYSCORE', key('pending:' .. account), '+inf', '(' .. now,
                        'WITHSCORES', 'LIMIT', most_pending - 1, 1)
if #in_the_way > 0 then return {'pending', in_the_way[2]} end
if is_full(account, window, most_requests) then return {'rate'} end
if call('ZADD', key('expiries'), 'NX', until_, challenge) == 0 then return {'taken'} end
call('HSET', key('owners'), challenge, account)
call('ZADD', key('pending:' .. account), until_, challenge)
count(account, window)
return {'admitted'}
"""
# Numbers are packed as float64 throughout, since text would lose digits.
BOOK = """
local totals, queries, revealed = key('totals:' .. ARGV[1]), ARGV[2], ARGV[3]
local width = call('GET', key('width'))
if width and tonumber(width) ~= #revealed then return {'width', width} end
local before, after = call('HGET', totals, 'revealed'), {}
for at = 1, #revealed, 8 do
    local sum = (before and struct.unpack('<d', before, at) or 0) + struct.unpack('<d', revealed, at)
    if sum - sum ~= 0 then return {'not finite'} end
    after[#after + 1] = struct.pack('<d', sum)
end
call('HINCRBY', totals, 'queries', queries)
call('SET', key('width'), #revealed)
call('HSET', totals, 'revealed', table.concat(after))
return {'booked', call('HGET', totals, 'queries'), call('HGET', totals, 'revealed')}
"""
REPLACE = """
local payer, before, after = unpack(ARGV)
if (call('HGET', key('standings'), payer) or '') ~= before then return 0 end
call('HSET', key('standings'), payer, after)
return 1
"""
KEEP = """
local challenge, account, answer, expires = unpack(ARGV)
local is_held = call('HGET', key('owners'), challenge) == account
                and call('HEXISTS', key('answers'), challenge) == 0
if call('ZADD', key('expiries'), is_held and 'XX' or 'NX', 'CH', expires, challenge) == 0 and not is_held then
    return 0
end
call('HSET', key('answers'), challenge, answer)
call('HSET', key('owners'), challenge, account)
call('ZADD', key('pending:' .. account), expires, challenge)
return 1
"""
FORGET_ANSWER = """
local function forget_answer(challenge)
    local account = call('HGET', key('owners'), challenge)
    if not account then return end
    call('ZREM', key('pending:' .. account), challenge)
    call('HDEL', key('owners'), challenge)
    call('HDEL', key('answers'), challenge)
end
"""
GIVE_UP = """
local challenge = ARGV[1]
if call('HEXISTS', key('answers'), challenge) == 1 or call('HEXISTS', key('owners'), challenge) == 0 then
    return
end
forget_answer(challenge)
call('ZREM', key('expiries'), challenge)
"""
REDEEM = """
local challenge, now = ARGV[1], tonumber(ARGV[2])
local expires = call('ZSCORE', key('expiries'), challenge)
if not expires or tonumber(expires) <= now then return {'unknown'} end
local answer = call('HGET', key('answers'), challenge)
if not answer then return {call('HEXISTS', key('owners'), challenge) == 1 and 'unknown' or 'spent'} end
forget_answer(challenge)
return {'answer', answer}
"""
SWEEP = """
local now, window = ARGV[1], ARGV[2]
local expired = call('ZRANGEBYSCORE', key('expiries'), '-inf', now)
for _, challenge in ipairs(expired) do forget_answer(challenge) end
call('ZREMRANGEBYSCORE', key('expiries'), '-inf', now)
for _, past in ipairs(call('ZRANGEBYSCORE', key('windows'), '-inf', '(' .. window)) do
    call('DEL', key('requests:' .. past))
end
call('ZREMRANGEBYSCORE', key('windows'), '-inf', '(' .. window)
return #expired
"""


class RedisLedger(Ledger):
    """A ledger on a Redis server. Each method is one command or one script, which Redis runs atomically.

    Ledger's promises need a server with `appendonly yes`, `appendfsync always` and no evictions.

    Args:
        url: `redis://...` of the server.
        prefix: Prefix of all keys, so that several ledgers can share a server.

    Raises:
        redis.RedisError: The server cannot be reached. A method that raises it may have taken effect.
    """

    def __init__(self, url: str, prefix: str = "tollgate") -> None:
        self._client = Redis.from_url(
            url,
            # A method whose reply was lost must not be tried again: it might be booked twice.
            retry=Retry(NoBackoff(), 0),
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
        self._prefix = f"{{{prefix}}}:"
        self._add_account = self._script(ADD + ADD_ACCOUNT)
        self._open_account = self._script(ADD + COUNT + OPEN_ACCOUNT)
        self._remove_account = self._script(REMOVE_ACCOUNT)
        self._admit = self._script(COUNT + ADMIT)
        self._book = self._script(BOOK)
        self._replace = self._script(REPLACE)
        self._keep = self._script(KEEP)
        self._give_up = self._script(FORGET_ANSWER + GIVE_UP)
        self._redeem = self._script(FORGET_ANSWER + REDEEM)
        self._sweep = self._script(FORGET_ANSWER + SWEEP)
        self._client.ping()

    def _script(self, body: str) -> Callable[..., Any]:
        script = self._client.register_script(PRELUDE + body)
        return lambda *arguments: script(keys=[self._prefix], args=arguments)

    def add_account(self, account: str, key_digest: bytes) -> None:
        """See Ledger."""
        if not self._add_account(account, key_digest):
            raise ValueError(f"there is an account {account!r} already, or its key is taken")

    def open_account(
        self, account: str, key_digest: bytes, challenge: bytes, now: float, expires: float, most: int
    ) -> None:
        """See Ledger."""
        window = int(now // WINDOW_SECONDS)
        arguments = (account, key_digest, challenge, float(expires), STRANGERS, window, most)
        result = self._open_account(*arguments)
        if result == b"spent":
            raise NotRedeemable("spent")
        if result == b"rate":
            raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)
        if result == b"taken":
            raise ValueError(f"there is an account {account!r} already, or its key is taken")

    def find_account(self, key_digest: bytes) -> str | None:
        """See Ledger."""
        account = self._client.hget(self._prefix + "keys", key_digest)
        return account.decode() if isinstance(account, bytes) else account

    def remove_account(self, account: str) -> bool:
        """See Ledger."""
        return bool(self._remove_account(account))

    def admit(self, account: str, challenge: bytes, now: float, until: float, limits: Limits) -> None:
        """See Ledger."""
        window = int(now // WINDOW_SECONDS)
        result = self._admit(
            account, challenge, float(now), float(until), window, limits.pending, limits.requests_a_minute
        )
        if result[0] == b"pending":
            raise LimitReached("pending", float(result[1]) - now)
        if result[0] == b"rate":
            raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)
        if result[0] == b"taken":
            raise ValueError(f"the id {challenge.hex()} is taken")

    def give_up(self, challenge: bytes) -> None:
        """See Ledger."""
        self._give_up(challenge)

    def book(self, payer: str, queries: int, revealed: np.ndarray) -> Booked:
        """See Ledger."""
        if np.ndim(revealed) != 1:
            raise ValueError(f"revealed has shape {np.shape(revealed)}, not [d]")
        result = self._book(payer, int(queries), np.asarray(revealed, "<f8").tobytes())
        if result[0] == b"width":
            raise ValueError(f"revealed has shape {np.shape(revealed)}, not {(int(result[1]) // 8,)}")
        if result[0] == b"not finite":
            raise ValueError("what was revealed is not finite, or its total is not")
        return _booked(*result[1:])

    def update(self, payer: str, change: Callable[[np.ndarray | None], np.ndarray]) -> np.ndarray:
        """See Ledger."""
        while True:
            found = self._client.hget(self._prefix + "standings", payer)
            before = found if isinstance(found, bytes) else b""
            after = np.asarray(change(_numbers(before) if before else None), dtype=np.float64)
            if self._replace(payer, before, after.astype("<f8").tobytes()):
                return after

    def kept(self) -> dict[str, np.ndarray]:
        """See Ledger."""
        rows = self._client.hgetall(self._prefix + "standings")
        return {
            payer.decode(): _numbers(blob)
            for payer, blob in rows.items()
            if isinstance(payer, bytes) and isinstance(blob, bytes)
        }

    def totals(self, payer: str) -> Booked | None:
        """See Ledger."""
        fields: list[Any] = self._client.hmget(f"{self._prefix}totals:{payer}", ["queries", "revealed"])
        return None if fields[0] is None else _booked(*fields)

    def keep(self, challenge: bytes, account: str, answer: bytes, expires: float) -> None:
        """See Ledger."""
        if not self._keep(challenge, account, answer, float(expires)):
            raise ValueError(f"an answer to challenge {challenge.hex()} was kept before")

    def redeem(self, challenge: bytes, now: float) -> bytes:
        """See Ledger."""
        result = self._redeem(challenge, float(now))
        if result[0] == b"answer":
            return result[1]
        raise NotRedeemable("spent" if result[0] == b"spent" else "unknown")

    def sweep(self, now: float) -> int:
        """See Ledger."""
        return int(self._sweep(float(now), int(now // WINDOW_SECONDS)))

    def close(self) -> None:
        """See Ledger."""
        self._client.close()


@contextmanager
def as_os_errors(url: str) -> Iterator[None]:
    """Raise an OSError, in one sentence without a password, where the server cannot be used."""
    try:
        yield
    except RedisError as error:
        raise OSError(f"Redis on {urlsplit(url).hostname} cannot be used: {error}") from error


def _booked(queries: bytes, revealed: bytes) -> Booked:
    return Booked(int(queries), np.frombuffer(revealed, "<f8").astype(np.float64))


def _numbers(packed: bytes) -> np.ndarray:
    return np.frombuffer(packed, "<f8").astype(np.float64)
