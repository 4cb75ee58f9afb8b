"""Ledgers do, in any sequence of calls, what one of dictionaries does."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
)
from support.gates.ledgers import NOW, OpenNamed, charge_of


@dataclass
class Entry:
    """A place, or a challenge once it has a charge."""

    account: str
    expires: float
    attempt: Attempt | None = None
    charge: Charge | None = None
    redeemed: int | None = None
    is_spent: bool = False
    counted: str = ""
    payer: str = ""

    @property
    def state(self) -> str:
        if self.redeemed is not None:
            return "redeemed"
        return "held" if self.charge is None else "kept"


class DictLedger(Ledger):
    """What a ledger does, said as plainly as possible."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.changed: dict[str, Account] = {}
        self.requests: Counter[tuple[str, float]] = Counter()
        self.numbers: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        self.counted: str | None = None
        self.entries: dict[bytes, Entry] = {}
        self.secrets: list[bytes] = []
        self.redemptions = itertools.count()

    def add_account(self, account: str, key_digest: bytes) -> None:
        if account in self.keys or key_digest in self.keys.values():
            raise ValueError
        self.keys[account] = key_digest

    def open_account(
        self, account: str, key_digest: bytes, challenge: bytes, now: float, expires: float, most: int
    ) -> None:
        if challenge in self.entries:
            raise NotRedeemable("spent")
        self.check_rate(STRANGERS, now, most)
        self.add_account(account, key_digest)
        self.requests[STRANGERS, now // WINDOW_SECONDS] += 1
        self.entries[challenge] = Entry("", expires, redeemed=-1, is_spent=True)

    def check_rate(self, account: str, now: float, most: int) -> None:
        window = now // WINDOW_SECONDS
        if self.requests[account, window] >= most:
            raise LimitReached("rate", (window + 1) * WINDOW_SECONDS - now)

    def find_account(self, key_digest: bytes) -> Account | None:
        return next((each for each in self.accounts() if self.keys[each.name] == key_digest), None)

    def accounts(self) -> list[Account]:
        return [self.changed.get(name, Account(name)) for name in sorted(self.keys)]

    def change_account(self, account: Account) -> bool:
        if account.name in self.keys:
            self.changed[account.name] = account
        return account.name in self.keys

    def remove_account(self, account: str) -> bool:
        self.changed.pop(account, None)
        return self.keys.pop(account, None) is not None

    def admit(
        self,
        account: str,
        challenge: bytes,
        now: float,
        until: float,
        limits: Limits,
        attempt: Attempt | None = None,
    ) -> str | None:
        before = self.attempted(account, attempt)
        if before is not None and self.entries[before].expires > now:
            token = self.repeated(self.entries[before], attempt)
            self.check_rate(account, now, limits.requests_a_minute)
            self.requests[account, now // WINDOW_SECONDS] += 1
            return token
        mine = [
            entry for entry in self.entries.values() if (entry.account, entry.redeemed) == (account, None)
        ]
        pending = sorted(entry.expires for entry in mine if entry.expires > now)
        if len(pending) >= limits.pending:
            raise LimitReached("pending", pending[len(pending) - limits.pending] - now)
        self.check_rate(account, now, limits.requests_a_minute)
        if challenge in self.entries and challenge != before:
            raise ValueError
        self.entries.pop(before or b"", None)
        self.requests[account, now // WINDOW_SECONDS] += 1
        self.entries[challenge] = Entry(account, until, attempt)
        return None

    def attempted(self, account: str, attempt: Attempt | None) -> bytes | None:
        for id, entry in self.entries.items():
            if attempt and entry.attempt and (entry.account, entry.attempt.key) == (account, attempt.key):
                return id
        return None

    def repeated(self, entry: Entry, attempt: Attempt | None) -> str:
        if entry.attempt != attempt:
            raise NotRepeatable("another")
        if entry.charge is None:
            raise NotRepeatable("in progress")
        return entry.charge.token

    def give_up(self, challenge: bytes) -> None:
        if challenge in self.entries and self.entries[challenge].state == "held":
            del self.entries[challenge]

    def charge(
        self, challenge: bytes, account: str, payer: str, change: Callable[[np.ndarray | None], Charge]
    ) -> Charge:
        entry = self.entries.get(challenge, Entry(account, 0.0))
        charge = change(self.numbers[self.counted or ""].get(payer))
        if entry.state != "held" or entry.account != account:
            raise ValueError
        entry.expires, entry.charge = charge.expires, charge
        entry.counted, entry.payer = self.counted or "", payer
        self.entries[challenge] = entry
        self.numbers[self.counted or ""][payer] = charge.numbers
        return charge

    def found(self, challenge: bytes, now: float) -> tuple[Entry, bytes]:
        entry = self.entries.get(challenge)
        if entry is None or entry.expires <= now or entry.state == "held":
            raise NotRedeemable("unknown")
        if entry.is_spent or entry.charge is None:
            raise NotRedeemable("spent")
        return entry, entry.charge.answer

    def redeemed(self, challenge: bytes, now: float) -> bytes | None:
        entry, answer = self.found(challenge, now)
        return answer if entry.state == "redeemed" else None

    def redeem(self, challenge: bytes, now: float, remembered: int) -> bytes:
        entry, answer = self.found(challenge, now)
        if entry.redeemed is None:
            entry.redeemed = next(self.redemptions)
            self.settle(entry)
            own = [each for each in self.entries.values() if each.account == entry.account]
            given = [each for each in own if each.redeemed is not None and not each.is_spent]
            for each in sorted(given, key=lambda each: -(each.redeemed or 0))[remembered:]:
                each.is_spent = True
        return answer

    def settle(self, entry: Entry) -> None:
        numbers = self.numbers[entry.counted].get(entry.payer)
        if numbers is not None and entry.charge is not None:
            settles = np.zeros(len(numbers))
            settles[: len(entry.charge.settles)] = entry.charge.settles
            self.numbers[entry.counted][entry.payer] = numbers + settles

    def count_as(self, counted: str, anew: bool = False) -> str | None:
        if self.counted not in (None, counted) and not anew:
            return self.counted
        self.counted = counted
        return None

    def standings(self) -> dict[str, np.ndarray]:
        return self.numbers[self.counted or ""]

    def reset(self, payer: str) -> bool:
        return self.numbers[self.counted or ""].pop(payer, None) is not None

    def signing_keys(self) -> list[bytes]:
        return self.secrets

    def add_signing_key(self, key: bytes, keep: int) -> list[bytes]:
        self.secrets = [key, *self.secrets[:keep]]
        return self.secrets

    def flush(self) -> None:
        pass

    def check(self) -> None:
        pass

    def sweep(self, now: float) -> int:
        before = len(self.entries)
        self.entries = {id: entry for id, entry in self.entries.items() if entry.expires > now}
        current = now // WINDOW_SECONDS
        self.requests = Counter({key: count for key, count in self.requests.items() if key[1] >= current})
        return before - len(self.entries)

    def close(self) -> None:
        pass


def outcome(ledger: Ledger, method: str, arguments: tuple[Any, ...]) -> object:
    """What a method returned or raised, in a form that compares."""
    try:
        if method == "charge":
            id, account, payer, added, answer, expires = arguments
            change = partial(charge_of, added=np.array(added), answer=answer, expires=expires, back=0.25)
            return ledger.charge(id, account, payer, change).numbers.tolist()
        result = getattr(ledger, method)(*arguments)
    except ValueError:
        return ValueError
    except (LimitReached, NotRedeemable, NotRepeatable) as refused:
        return type(refused), refused.args
    if method == "standings":
        return {payer: numbers.tolist() for payer, numbers in result.items()}
    return result


names, digests, times = (
    st.sampled_from(["ann", "bob"]),
    st.sampled_from([b"1", b"2"]),
    st.sampled_from([NOW, NOW + 0.5, NOW + 59.75, NOW + 60, NOW + 60.1]),
)
ids, limits = st.sampled_from([b"1", b"2", b"3"]), st.builds(Limits, st.integers(1, 2), st.integers(1, 3))
vectors = st.lists(st.floats(0, 1e9), min_size=2, max_size=2)
attempts = st.none() | st.builds(Attempt, st.sampled_from(["one", "two"]), st.sampled_from([b"1", b"2"]))
few = st.none() | st.integers(1, 3)
CALLS = st.one_of(
    st.tuples(st.just("add_account"), st.tuples(names, digests)),
    st.tuples(st.just("open_account"), st.tuples(names, digests, ids, times, times, st.integers(1, 2))),
    st.tuples(st.just("find_account"), st.tuples(digests)),
    st.tuples(st.just("remove_account"), st.tuples(names)),
    st.tuples(st.just("accounts"), st.tuples()),
    st.tuples(st.just("change_account"), st.tuples(st.builds(Account, names, st.booleans(), few, few))),
    st.tuples(st.just("admit"), st.tuples(names, ids, times, times, limits, attempts)),
    st.tuples(st.just("give_up"), st.tuples(ids)),
    st.tuples(st.just("charge"), st.tuples(ids, names, names, vectors, st.binary(max_size=3), times)),
    st.tuples(st.just("redeemed"), st.tuples(ids, times)),
    st.tuples(st.just("redeem"), st.tuples(ids, times, st.integers(1, 2))),
    st.tuples(st.just("count_as"), st.tuples(st.sampled_from(["a", "b"]), st.booleans())),
    st.tuples(st.just("standings"), st.tuples()),
    st.tuples(st.just("reset"), st.tuples(names)),
    st.tuples(st.just("signing_keys"), st.tuples()),
    st.tuples(st.just("add_signing_key"), st.tuples(digests, st.integers(0, 2))),
    st.tuples(st.just("sweep"), st.tuples(times)),
)


def test_any_calls_do_what_they_say(open_named: OpenNamed) -> None:
    fresh_names = map(str, itertools.count())

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(CALLS, min_size=5, max_size=25))
    def check(calls: list[tuple[str, tuple[object, ...]]]) -> None:
        model = DictLedger()
        with closing(open_named(next(fresh_names))) as ledger, np.errstate(over="ignore", invalid="ignore"):
            for method, arguments in calls:
                assert outcome(ledger, method, arguments) == outcome(model, method, arguments)

    check()
