"""A ledger keeps what the gate must not forget.

That is the accounts, where each payer stands, the answers that challenges release, and the keys that sign
challenges. A payer is an account, or a group of accounts whose costs add up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

WINDOW_SECONDS = 60
"""Length of the windows in which requests are counted; they start at its multiples."""

STRANGERS = "(strangers)"
"""Whose requests new accounts count as; no account can have this name."""


@dataclass(frozen=True)
class Limits:
    """What an account may do.

    Args:
        pending: Challenges that it may have open, at least 1. So many answers that it has redeemed are kept,
            too, until their challenges expire.
        requests_a_minute: Requests that it may make in a window, at least 1.

    Raises:
        ValueError: A limit is below 1; the message names it.
    """

    pending: int
    requests_a_minute: int

    def __post_init__(self) -> None:
        for name in ("pending", "requests_a_minute"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")


@dataclass(frozen=True)
class Account:
    """An account, whether it is disabled, and the limits of its own that stand in for the service's."""

    name: str
    disabled: bool = False
    pending: int | None = None
    requests_a_minute: int | None = None

    def limits(self, usual: Limits) -> Limits:
        """Its own limits where it has them, else the usual ones."""
        return Limits(
            self.pending if self.pending is not None else usual.pending,
            self.requests_a_minute if self.requests_a_minute is not None else usual.requests_a_minute,
        )


@dataclass(frozen=True)
class Attempt:
    """A request that may be sent again: the key that its client gave it, and a digest of its body."""

    key: str
    digest: bytes


@dataclass(frozen=True, eq=False)
class Charge:
    """What a request does to a ledger.

    Attributes:
        numbers: Where its payer stands from then on, float64 `[k]`.
        answer: The answer to keep.
        token: The challenge that releases it, as its client gets it.
        expires: Time at which the challenge expires.
        settles: What is added to the first of these numbers when the challenge is redeemed, float64 `[j]`.
    """

    numbers: np.ndarray
    answer: bytes
    token: str
    expires: float
    settles: np.ndarray = field(default_factory=lambda: np.zeros(0))


class LimitReached(Exception):
    """An account has reached one of its limits; it may try again in `retry_after` seconds."""

    def __init__(self, which: Literal["pending", "rate"], retry_after: float) -> None:
        super().__init__(which, retry_after)
        self.which, self.retry_after = which, retry_after


class NotRepeatable(Exception):
    """An attempt's key stands for a request with another body, or for one that is still being answered."""

    def __init__(self, why: Literal["another", "in progress"]) -> None:
        super().__init__(why)
        self.why = why


class NotRedeemable(Exception):
    """A challenge brings nothing: it is spent (its answer was given and is gone), or unknown."""

    def __init__(self, why: Literal["spent", "unknown"]) -> None:
        super().__init__(why)
        self.why = why


class Unavailable(OSError):
    """The ledger cannot be used at the moment; the call may have taken effect, or not."""


class Busy(Unavailable):
    """Others use the ledger for longer than a call may wait; the call has done nothing."""


class Ledger(ABC):
    """A store that several threads and several processes may use at once.

    Each method is atomic: it takes effect whole or not at all, even if a process is killed. Once it has
    returned, a killed process loses nothing of it; after `flush`, a power cut does not either. Times are
    seconds since 1970; the caller gives them. Every method raises Unavailable where the store fails.
    """

    at_once: ClassVar[bool] = False
    """Whether each call but `flush` takes microseconds if it need not wait for others, so no thread."""

    @contextmanager
    def in_haste(self) -> Iterator[None]:
        """Within, this thread's next call that would wait for others raises Busy, and has done nothing."""
        yield

    # Accounts

    @abstractmethod
    def add_account(self, account: str, key_digest: bytes) -> None:
        """Add an account with the digest of its API key; raise ValueError if the name or key is taken."""

    @abstractmethod
    def open_account(
        self, account: str, key_digest: bytes, challenge: bytes, now: float, expires: float, most: int
    ) -> None:
        """Add the account that a solved challenge pays for, once, even if it is removed meanwhile.

        Args:
            account: Account to add.
            key_digest: Digest of its API key.
            challenge: Id of the challenge, which is spent from then on, until it expires.
            now: The present; the account counts in the window that holds it.
            expires: Time at which the challenge expires.
            most: Accounts that may be opened in a window.

        Raises:
            LimitReached: So many were opened; nothing is counted or spent.
            NotRedeemable: The challenge is spent.
            ValueError: The name or key is taken; nothing is counted or spent.
        """

    @abstractmethod
    def find_account(self, key_digest: bytes) -> Account | None:
        """Return the account whose key has this digest, or None."""

    @abstractmethod
    def accounts(self) -> list[Account]:
        """Return all accounts, by name."""

    @abstractmethod
    def change_account(self, account: Account) -> bool:
        """Replace what is kept of the account of this name, but its key; return whether there is one."""

    @abstractmethod
    def remove_account(self, account: str) -> bool:
        """Remove an account, but not where it stands; return whether there was one."""

    # Requests

    @abstractmethod
    def admit(
        self,
        account: str,
        challenge: bytes,
        now: float,
        until: float,
        limits: Limits,
        attempt: Attempt | None = None,
    ) -> str | None:
        """Count a request and hold a place for its challenge until `charge` fills it.

        Args:
            account: Account that asks.
            challenge: Id of the challenge that will follow.
            now: The present; the request counts in the window that holds it.
            until: Time at which the place expires if `charge` does not fill it.
            limits: Limits of the account. Pending are its places and its challenges that are neither redeemed
                nor expired.
            attempt: Says whether the request was made before.

        Returns:
            None, or the token that the same attempt brought before, if its challenge has not expired; then
            the request is counted, but no place is held.

        Raises:
            LimitReached: A limit is reached; nothing is counted or held.
            NotRepeatable: The attempt cannot be told from another one; nothing is counted or held.
            ValueError: The id is taken.
        """

    @abstractmethod
    def give_up(self, challenge: bytes) -> None:
        """Free the place of a challenge, unless its answer is kept already."""

    @abstractmethod
    def charge(
        self, challenge: bytes, account: str, payer: str, change: Callable[[np.ndarray | None], Charge]
    ) -> Charge:
        """Charge a payer for a request, and keep the answer that its challenge will release, both at once.

        Args:
            challenge: Id of the challenge; its place is filled if `admit` held one for this account.
            account: Account that asked.
            payer: Account, or group of accounts, whose costs add up.
            change: Gets the numbers of where the payer stands, None before its first request, and returns
                what is kept. It may be called several times; what it returns last is kept. Of several
                charges at the same time each sees the one before.

        Returns:
            What `change` returned last.

        Raises:
            ValueError: The id is taken; nothing is charged or kept.
        """

    @abstractmethod
    def redeemed(self, challenge: bytes, now: float) -> bytes | None:
        """Return the answer that a challenge has released already, or None if it can be redeemed now.

        Raises NotRedeemable for a challenge that is unknown or expired, or spent.
        """

    @abstractmethod
    def redeem(self, challenge: bytes, now: float, remembered: int) -> bytes:
        """Return the answer of a challenge, the same one each time, until the challenge expires.

        The first time, what it settles is added to where its payer stands, unless that was reset.

        Args:
            challenge: Id of the challenge.
            now: The present.
            remembered: Redeemed answers of its account that are kept; those that were redeemed before the
                last so many are spent.

        Raises:
            NotRedeemable: The challenge is unknown or expired or not kept, or it is spent.
        """

    # Standings

    @abstractmethod
    def count_as(self, counted: str, anew: bool = False) -> str | None:
        """Say what the numbers of this ledger count from now on, so that no others are added to them.

        Args:
            counted: Words that tell one kind of numbers from another. Charges and standings are those of
                this kind; before the first call, of the kind that the ledger counted last.
            anew: Whether to change to another kind.

        Returns:
            None, or what the ledger counts where that is another kind and `anew` is false; then nothing is
            changed.
        """

    @abstractmethod
    def standings(self) -> dict[str, np.ndarray]:
        """Return the numbers of where each payer stands, float64 `[k]`."""

    @abstractmethod
    def reset(self, payer: str) -> bool:
        """Forget where a payer stands; return whether it had asked."""

    # The rest

    @abstractmethod
    def signing_keys(self) -> list[bytes]:
        """Return the keys that sign challenges, the newest first."""

    @abstractmethod
    def add_signing_key(self, key: bytes, keep: int) -> list[bytes]:
        """Put a new signing key first and keep `keep` old ones; return all that are kept."""

    @abstractmethod
    def flush(self) -> None:
        """Return once all that was told before outlives a power cut, where the ledger is to outlive one."""

    @abstractmethod
    def check(self) -> None:
        """Raise Unavailable unless the ledger works, and keeps what it is told."""

    @abstractmethod
    def sweep(self, now: float) -> int:
        """Forget what has expired and the counts of past windows; return how many challenges and places."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections; the ledger cannot be used afterwards."""
