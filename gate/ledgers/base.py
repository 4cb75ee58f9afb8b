"""What the gate must not forget: accounts, what each payer's queries revealed, challenges with answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

WINDOW_SECONDS = 60
"""Requests are counted within windows of this length, which begin at multiples of it."""


@dataclass(frozen=True)
class Limits:
    """How many challenges an account may have open, and how many requests in a window it may make.

    Raises ValueError naming the option for a limit below 1.
    """

    pending: int
    requests_a_minute: int

    def __post_init__(self) -> None:
        for name in ("pending", "requests_a_minute"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")


@dataclass(frozen=True, eq=False)
class Booked:
    """A payer's totals with a request included: queries, and what they revealed, float64 `[d]`."""

    queries: int
    revealed: np.ndarray


class LimitReached(Exception):
    """An account is over one of its limits; it may try again in `retry_after` seconds."""

    def __init__(self, which: Literal["pending", "rate"], retry_after: float) -> None:
        super().__init__(which, retry_after)
        self.which, self.retry_after = which, retry_after


class NotRedeemable(Exception):
    """No answer is kept for a challenge: it was redeemed before, or it is unknown (or swept)."""

    def __init__(self, why: Literal["spent", "unknown"]) -> None:
        super().__init__(why)
        self.why = why


class Ledger(ABC):
    """One ledger may be used by several threads, and by several processes at a time.

    Each method is atomic: it happens whole or not at all, whatever is killed, and once it has returned, a
    killed process loses nothing of it. Times are seconds since 1970, given by the caller.
    """

    @abstractmethod
    def add_account(self, account: str, key_digest: bytes) -> None:
        """Add an account, known by the digest of its API key. Raises ValueError if the name is taken."""

    @abstractmethod
    def find_account(self, key_digest: bytes) -> str | None:
        """The account with this key, or None."""

    @abstractmethod
    def remove_account(self, account: str) -> bool:
        """Forget an account's key (what it revealed stays on record); whether there was one."""

    @abstractmethod
    def admit(self, account: str, challenge: bytes, now: float, until: float, limits: Limits) -> None:
        """Count a request, and hold a place for its challenge, by its id, until `keep` takes it.

        Raises LimitReached, and does neither, if that would be over a limit. Of the challenges those count
        that are neither redeemed nor expired, and the places that are held, each until its `until`; of the
        requests those of the window that `now` is in. Raises ValueError if the id is taken.
        """

    @abstractmethod
    def give_up(self, challenge: bytes) -> None:
        """Hold the place of a challenge no longer. One whose answer is kept stays, and so does its answer."""

    @abstractmethod
    def book(self, payer: str, queries: int, revealed: np.ndarray) -> Booked:
        """Add to a payer's totals, which start at 0; `revealed` is float64 `[d]`, d always the same.

        Raises ValueError, and adds nothing, for another d or for values that are not finite.
        """

    @abstractmethod
    def totals(self, payer: str) -> Booked | None:
        """A payer's totals, None before its first request."""

    @abstractmethod
    def keep(self, challenge: bytes, account: str, answer: bytes, expires: float) -> None:
        """Keep the answer that a challenge, by its id, will release: in its account's place for it, if held.

        Raises ValueError if the id is taken.
        """

    @abstractmethod
    def redeem(self, challenge: bytes, now: float) -> bytes:
        """The answer, once: of any number of calls at the same instant, one gets it.

        Raises NotRedeemable for the others, and for a challenge that is unknown, expired or not kept yet.
        """

    @abstractmethod
    def sweep(self, now: float) -> int:
        """Forget what expired, and counts of past windows; how many challenges and places that were."""

    @abstractmethod
    def close(self) -> None:
        """Release files and connections; the ledger is not used afterwards."""
