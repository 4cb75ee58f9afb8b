"""Ledgers do, in any sequence of calls, what one of dictionaries does."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate.ledgers.base import (
    STRANGERS,
    WINDOW_SECONDS,
    Booked,
    Ledger,
    LimitReached,
    Limits,
    NotRedeemable,
)
from support.gates.ledgers import NOW, OpenNamed


class DictLedger(Ledger):
    """What a ledger does, said as plainly as possible."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.requests: Counter[tuple[str, float]] = Counter()
        self.booked: dict[str, Booked] = {}
        self.numbers: dict[str, np.ndarray] = {}
        self.challenges: dict[bytes, tuple[str, bytes, float]] = {}
        self.spent: set[bytes] = set()
        self.held: dict[bytes, tuple[str, float]] = {}

    def add_account(self, account: str, key_digest: bytes) -> None:
        if account in self.keys or key_digest in self.keys.values():
            raise ValueError
        self.keys[account] = key_digest

    def open_account(
        self, account: str, key_digest: bytes, challenge: bytes, now: float, expires: float, most: int
    ) -> None:
        if challenge in self.challenges or challenge in self.held:
            raise NotRedeemable("spent")
        window = now // WINDOW_SECONDS
        if self.requests[STRANGERS, window] >= most:
            raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)
        self.add_account(account, key_digest)
        self.requests[STRANGERS, window] += 1
        self.challenges[challenge] = account, b"", expires
        self.spent.add(challenge)

    def find_account(self, key_digest: bytes) -> str | None:
        return next((account for account, digest in self.keys.items() if digest == key_digest), None)

    def remove_account(self, account: str) -> bool:
        return self.keys.pop(account, None) is not None

    def admit(self, account: str, challenge: bytes, now: float, until: float, limits: Limits) -> None:
        kept = [
            expires
            for id, (who, _, expires) in self.challenges.items()
            if (who, id in self.spent) == (account, False)
        ]
        held = [expires for who, expires in self.held.values() if who == account]
        pending = sorted(expires for expires in kept + held if expires > now)
        if len(pending) >= limits.pending:
            raise LimitReached("pending", pending[len(pending) - limits.pending] - now)
        window = now // WINDOW_SECONDS
        if self.requests[account, window] >= limits.requests_a_minute:
            raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)
        if challenge in self.challenges or challenge in self.held:
            raise ValueError
        self.requests[account, window] += 1
        self.held[challenge] = account, until

    def give_up(self, challenge: bytes) -> None:
        self.held.pop(challenge, None)

    def book(self, payer: str, queries: int, revealed: np.ndarray) -> Booked:
        before = self.booked.get(payer, Booked(0, np.zeros(2)))
        if revealed.shape != (2,) or not np.isfinite(before.revealed + revealed).all():
            raise ValueError
        self.booked[payer] = Booked(before.queries + queries, before.revealed + revealed)
        return self.booked[payer]

    def update(self, payer: str, change: Callable[[np.ndarray | None], np.ndarray]) -> np.ndarray:
        self.numbers[payer] = change(self.numbers.get(payer))
        return self.numbers[payer]

    def kept(self) -> dict[str, np.ndarray]:
        return self.numbers

    def totals(self, payer: str) -> Booked | None:
        return self.booked.get(payer)

    def keep(self, challenge: bytes, account: str, answer: bytes, expires: float) -> None:
        if challenge in self.challenges or self.held.get(challenge, (account,))[0] != account:
            raise ValueError
        self.held.pop(challenge, None)
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
        expired = {id for id, (*_, expires) in (self.challenges | self.held).items() if expires <= now}
        self.held = {id: place for id, place in self.held.items() if id not in expired}
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
    st.tuples(st.just("open_account"), st.tuples(names, digests, ids, times, times, st.integers(1, 2))),
    st.tuples(st.just("find_account"), st.tuples(digests)),
    st.tuples(st.just("remove_account"), st.tuples(names)),
    st.tuples(st.just("admit"), st.tuples(names, ids, times, times, limits)),
    st.tuples(st.just("give_up"), st.tuples(ids)),
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
