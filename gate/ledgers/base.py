"""A ledger keeps what the gate must not forget.

That is the accounts, the total of what each payer's queries revealed, and the answers that challenges
release. A payer is an account, or a group of accounts whose costs add up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

WINDOW_SECONDS = 60
"""Length of the windows in which requests are counted; they start at its multiples."""

STRANGERS = "(strangers)"
"""Whose requests new accounts count as; no account can have this name."""


@dataclass(frozen=True)
class Limits:
    """What an account may do.

    Args:
        pending: Challenges that it may have open, at least 1.
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


@dataclass(frozen=True, eq=False)
class Booked:
    """A payer's totals: its number of queries, and the sum of what they revealed, float64 `[d]`."""

    queries: int
    revealed: np.ndarray


class LimitReached(Exception):
    """An account has reached one of its limits; it may try again in `retry_after` seconds."""

    def __init__(self, which: Literal["pending", "rate"], retry_after: float) -> None:
        super().__init__(which, retry_after)
        self.which, self.retry_after = which, retry_after


class NotRedeemable(Exception):
    """A challenge brings nothing: it is spent (redeemed before), or unknown (or forgotten)."""

    def __init__(self, why: Literal["spent", "unknown"]) -> None:
        super().__init__(why)
        self.why = why


class Ledger(ABC):
    """A store that several threads and several processes may use at once.

    Each method is atomic: it takes effect whole or not at all, even if a process is killed. Once it has
    returned, a killed process loses nothing of it. Times are seconds since 1970; the caller gives them.
    """

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
    def find_account(self, key_digest: bytes) -> str | None:
        """Return the account whose key has this digest, or None."""

    @abstractmethod
    def remove_account(self, account: str) -> bool:
        """Remove an account, but not its totals; return whether there was one."""

    @abstractmethod
    def admit(self, account: str, challenge: bytes, now: float, until: float, limits: Limits) -> None:
        """Count a request and hold a place for its challenge until `keep` fills it.

        Args:
            account: Account that asks.
            challenge: Id of the challenge that will follow.
            now: The present; the request counts in the window that holds it.
            until: Time at which the place expires if `keep` does not fill it.
            limits: Limits of the account. Pending are its places and its challenges that are neither redeemed
                nor expired.

        Raises:
            LimitReached: A limit is reached; nothing is counted or held.
            ValueError: The id is taken.
        """

    @abstractmethod
    def give_up(self, challenge: bytes) -> None:
        """Free the place of a challenge, unless its answer is kept already."""

    @abstractmethod
    def book(self, payer: str, queries: int, revealed: np.ndarray) -> Booked:
        """Add queries to a payer's totals, which start at 0.

        Args:
            payer: Account, or group of accounts, whose costs add up.
            queries: Number of queries.
            revealed: What they revealed, float64 `[d]`, with the same d in every call.

        Returns:
            The new totals.

        Raises:
            ValueError: d differs, or a value is not finite; nothing is added.
        """

    @abstractmethod
    def update(self, payer: str, change: Callable[[np.ndarray | None], np.ndarray]) -> np.ndarray:
        """Change the numbers that are kept for a payer, and return the new ones, float64 `[k]`.

        `change` gets the numbers that there are, None before the first; it may be called several times, and
        what it returns last is kept. Of several changes at the same time each sees the one before.
        """

    @abstractmethod
    def kept(self) -> dict[str, np.ndarray]:
        """Return the numbers that are kept for each payer, float64 `[k]`."""

    @abstractmethod
    def totals(self, payer: str) -> Booked | None:
        """Return a payer's totals, or None before its first request."""

    @abstractmethod
    def keep(self, challenge: bytes, account: str, answer: bytes, expires: float) -> None:
        """Keep the answer that a challenge will release.

        Args:
            challenge: Id of the challenge; its place is filled if `admit` held one for this account.
            account: Account that asked.
            answer: Answer to keep.
            expires: Time at which the challenge expires.

        Raises:
            ValueError: The id is taken.
        """

    @abstractmethod
    def redeem(self, challenge: bytes, now: float) -> bytes:
        """Return the answer of a challenge, once: of several calls at the same time, one gets it.

        Raises NotRedeemable for the other calls, and for a challenge that is unknown or expired or not kept.
        """

    @abstractmethod
    def sweep(self, now: float) -> int:
        """Forget what has expired and the counts of past windows; return how many challenges and places."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections; the ledger cannot be used afterwards."""
