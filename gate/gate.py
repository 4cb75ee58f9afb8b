"""The gate, without HTTP, books what a query's answer reveals and keeps the answer until work is shown."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gate.api_keys import derived_key, key_digest
from gate.challenges import Challenge, InvalidChallenge, Signed, shared_keyring
from gate.ledgers.base import (
    Account,
    Attempt,
    Charge,
    Ledger,
    LimitReached,
    Limits,
    NotRedeemable,
    NotRepeatable,
)
from gate.meters import GateMeter
from gate.payloads import as_json, query_digest
from gate.problems import Problem
from pow.calibration import Calibration
from pow.puzzles import PuzzleSettings, verify
from pow.requests import check_opening, opening_hashes
from pow.tariff import Standing, settled, tariff_of, unpaid
from storage.options import check_choice

AnswerKind = Literal["soft", "topk", "hard"]

TOO_LATE = 5e-4
"""Share of solutions on the slowest device that may come too late: fewer than one in a thousand do."""

OPENING = "a new account"
"""What a challenge for a new account names in place of a query's digest, which it can never be."""


@dataclass(frozen=True)
class Service:
    """What a gate serves, and the work that it asks for.

    Args:
        image_shape: Shape of an image, `[c, h, w]`.
        classes: Number of classes.
        calibration: Turns a payer's totals into seconds of work.
        puzzle: Puzzles to ask for.
        answers: "soft" gives all probabilities, "topk" the largest, "hard" the likeliest label.
        top_k: Probabilities that "topk" gives; the others are 0.
        limits: Limits of each account.
        lifetime: Seconds for which every challenge is valid, besides the time that solving it takes.
        slowest_rate: Hashes a second, of this puzzle, of the slowest device that is to solve in time: of its
            solutions less than one in a thousand comes too late.
        spread: Images over which a progressive calibration asks for what one of them owes; see pow.tariff.
        counted: Words that tell what the ledger's numbers count: the model, the measures, the calibration.
            Numbers of other words are left alone.
        open_accounts: Whether strangers may open an account, for work.
        account_seconds: That work, in seconds of the reference client.
        openings: Accounts that all strangers together may open in a minute.
        payer: Maps an account to the group whose costs add up; default the account itself.
        class_names: A name for each class, or none.

    Raises:
        ValueError: A value is not valid; the message names the option.
    """

    image_shape: tuple[int, int, int]
    classes: int
    calibration: Calibration
    puzzle: PuzzleSettings
    answers: AnswerKind = "soft"
    top_k: int = 3
    limits: Limits = field(default_factory=lambda: Limits(pending=64, requests_a_minute=600))
    lifetime: float = 300.0
    slowest_rate: float = 1e5
    spread: int = 32
    counted: str = ""
    open_accounts: bool = False
    account_seconds: float = 0.0
    openings: int = 10
    payer: Callable[[str], str] = str
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("answers", self.answers, AnswerKind)
        if self.answers == "topk" and not 1 <= self.top_k <= self.classes:
            raise ValueError(f"top_k must be between 1 and the {self.classes} classes, not {self.top_k}")
        for name in ("lifetime", "slowest_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        for name in ("spread", "openings"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if self.open_accounts and not 0 < self.account_seconds < math.inf:
            price = f"defense.pow.account_seconds above 0, and finite, not {self.account_seconds!r}"
            raise ValueError(f"open_accounts=true needs {price}")
        if self.open_accounts:
            check_opening(self.calibration, self.puzzle, self.account_seconds)

    @property
    def largest_batch(self) -> int:
        """Most images in a request; they are charged together."""
        return self.calibration.request_size

    def answer(self, probabilities: np.ndarray) -> np.ndarray:
        """Return what a client gets of probabilities `[n, classes]`: probabilities, or labels `[n]`."""
        if self.answers == "hard":
            return probabilities.argmax(1)
        if self.answers == "soft":
            return probabilities
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top_k]
        kept = np.zeros_like(probabilities)
        np.put_along_axis(kept, order, np.take_along_axis(probabilities, order, axis=1), axis=1)
        return kept


@dataclass(frozen=True)
class Asked:
    """A signed challenge for a query, and where it brings its payer: its gain, or its privacy cost."""

    signed: Signed
    cost: float


class Gate:
    """Asks for work before it gives an answer.

    Args:
        service: What is served, and for what work.
        meter: Measures what answers reveal.
        ledger: Accounts, standings and answers; several gates may share it.
        clock: Gives the time in seconds since 1970.

    Attributes:
        effort: What all work is multiplied by, for a while.
        holding: Seconds that the model, and all else between `admit` and `ask`, may take.

    Raises:
        ValueError: The ledger counts something else than this service; see Ledger.count_as.
    """

    def __init__(
        self,
        service: Service,
        meter: GateMeter,
        ledger: Ledger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service, self.meter, self.ledger, self.clock = service, meter, ledger, clock
        self.tariff = tariff_of(service.calibration, service.puzzle, service.spread, meter.cost)
        self.keyring = shared_keyring(ledger)
        self.effort = 1.0
        self.holding = service.lifetime
        other = ledger.count_as(service.counted)
        if other is not None:
            raise ValueError(f"the ledger counts {other}, not {service.counted}")

    def refresh_keys(self) -> None:
        """Take over the signing keys that the ledger has now."""
        self.keyring = shared_keyring(self.ledger)

    def admit(self, account: Account, attempt: Attempt | None = None) -> bytes | Signed:
        """Count a request, hold a place for its challenge, and return the challenge's id.

        `ask` fills the place and `give_up` frees it. If the process is killed before, the place expires after
        `holding`, and the same attempt can be made again. Where the attempt was made before, its challenge is
        returned instead, and nothing is held. Raises Problem if the account has reached one of its limits.
        """
        service, now, id = self.service, self.clock(), secrets.token_bytes(16)
        limits = account.limits(service.limits)
        try:
            token = self.ledger.admit(account.name, id, now, now + self.holding, limits, attempt)
        except LimitReached as reached:
            raise _limited(reached, limits) from None
        except NotRepeatable as error:
            raise _not_repeated(error) from None
        return id if token is None else self._opened(token)

    def give_up(self, id: bytes) -> None:
        """Free the place of an admitted request that gets no challenge."""
        self.ledger.give_up(id)

    def ask(
        self, account: str, id: bytes, images: np.ndarray, probabilities: np.ndarray, revealed: np.ndarray
    ) -> Asked:
        """Book what the answers reveal, keep them, and issue the challenge that releases them.

        The booking comes now, so that asking for a price and leaving is not free.

        Args:
            account: Account that asks.
            id: Id that `admit` returned.
            images: Images in [0, 1], float32 `[n, c, h, w]`.
            probabilities: The model's answers, float32 `[n, classes]`.
            revealed: What the meter makes of them, float64 `[n, d]`.
        """
        query, issued = query_digest(images), list[Asked]()
        answer = json.dumps(as_json(self.service.answer(probabilities)) | {"query": query}).encode()

        def change(numbers: np.ndarray | None) -> Charge:
            now = self.clock()
            before = (
                Standing.of(numbers) if numbers is not None else self.tariff.fresh(revealed.shape[1], now)
            )
            after = self.tariff.after(before, revealed, now)
            challenge = self._challenge(account, id, query, after.price)
            issued.append(Asked(self.keyring.sign(challenge), after.gain))
            kept, token = unpaid(before, after), issued[-1].signed.token
            return Charge(kept.vector(), answer, token, challenge.expires, settled(kept, after))

        self.ledger.charge(id, account, self.service.payer(account), change)
        return issued[-1]

    def ask_account(self) -> Signed:
        """Issue a challenge for a new account, worth `account_seconds` of work; nothing is kept of it."""
        service = self.service
        hashes = opening_hashes(service.calibration, service.puzzle, service.account_seconds)
        name = f"account-{secrets.token_hex(8)}"
        return self.keyring.sign(self._challenge(name, secrets.token_bytes(16), OPENING, hashes))

    def open_account(self, token: str, nonces: Any) -> tuple[str, str]:
        """Open the account of a solved challenge.

        Name and key follow from the challenge. So a reply that was lost can be asked for again. A solution
        opens one account, once: after the account is removed it brings nothing.

        Args:
            token: Token that `ask_account` issued.
            nonces: Claimed solution; see `pow.puzzles.verify`.

        Returns:
            The account's name and its API key, which is kept nowhere.

        Raises:
            Problem: The challenge is forged, expired, spent or for no account, the nonces do not solve it, or
                too many accounts are being opened.
        """
        signed = self._opened(token)
        if signed.challenge.query != OPENING:
            raise Problem("forged_challenge", "the challenge was not issued for a new account")
        self._check_solved(signed, nonces)
        key = derived_key(self.keyring.derive(token, "api key"))
        digest = key_digest(key)
        if self.ledger.find_account(digest) is None:
            self._add_account(signed.challenge, digest)
        return signed.challenge.account, key

    def _add_account(self, challenge: Challenge, digest: bytes) -> None:
        """Add the account of a challenge, unless it was added before or too many were in this minute."""
        name, id, most = challenge.account, bytes.fromhex(challenge.id), self.service.openings
        try:
            self.ledger.open_account(name, digest, id, self.clock(), challenge.expires, most)
        except LimitReached as reached:
            detail = f"{most} accounts a minute are opened; the solution stays valid until it expires"
            raise Problem("too_many_requests", detail, reached.retry_after) from None
        except NotRedeemable:
            # The same solution may have come at the same time; then the other call has added the account.
            if self.ledger.find_account(digest) is None:
                raise Problem("spent", "the account that this challenge opened was removed") from None

    def _challenge(self, account: str, id: bytes, query: str, hashes: float) -> Challenge:
        """A challenge of so many hashes, which lives long enough to be solved on a slow device."""
        service = self.service
        puzzle = service.puzzle.puzzle(b"any", hashes * self.effort)
        return Challenge(
            id=id.hex(),
            account=account,
            query=query,
            kind=puzzle.kind,
            difficulty=puzzle.difficulty,
            parts=puzzle.parts,
            expires=self.clock() + service.lifetime + puzzle.enough(TOO_LATE) / service.slowest_rate,
            options=dict(service.puzzle.options),
        )

    def given(self, account: str, token: str) -> bytes | None:
        """Return the answer that this account has redeemed already, or None if it is yet to be paid for.

        Raises Problem for a challenge that is forged, expired, spent or another account's.
        """
        challenge = self._issued_to(account, token).challenge
        try:
            return self.ledger.redeemed(bytes.fromhex(challenge.id), self.clock())
        except NotRedeemable as error:
            raise _not_redeemed(error) from None

    def check(self, account: str, token: str, nonces: Any) -> Challenge:
        """Return the challenge that this account solved, without a look at the ledger.

        Args:
            account: Account that redeems it.
            token: Token that was issued.
            nonces: Claimed solution; see `pow.puzzles.verify`.

        Raises:
            Problem: The challenge is forged, expired or another account's, or the nonces do not solve it.
        """
        signed = self._issued_to(account, token)
        self._check_solved(signed, nonces)
        return signed.challenge

    def _issued_to(self, account: str, token: str) -> Signed:
        """Return the challenge in a token that was issued to the account for an answer, and lives."""
        signed = self._opened(token)
        if signed.challenge.query == OPENING:
            raise Problem("forged_challenge", "the challenge was issued for a new account, not for an answer")
        if signed.challenge.account != account:
            raise Problem("other_account", "the challenge was issued to another account")
        self._check_alive(signed)
        return signed

    def _opened(self, token: str) -> Signed:
        if not self.keyring.knows(token):
            self.refresh_keys()  # another host may have made a new one
        try:
            return self.keyring.open(token)
        except InvalidChallenge:
            raise Problem("forged_challenge", "this gate did not issue the challenge") from None

    def _check_alive(self, signed: Signed) -> None:
        if signed.challenge.expires <= self.clock():
            raise Problem("expired", "the challenge has expired; ask again for a new one")

    def _check_solved(self, signed: Signed, nonces: Any) -> None:
        self._check_alive(signed)
        if not verify(signed.puzzle, nonces):
            raise Problem("wrong_solution", "the nonces do not solve this challenge's puzzle")

    def release(self, challenge: Challenge, limits: Limits | None = None) -> bytes:
        """Return the answer, as JSON, of a checked challenge: the same one each time, until it expires.

        As many redeemed answers are kept as the account may have challenges open by its `limits`, which are
        the service's where none are given.
        """
        remembered = (limits or self.service.limits).pending
        try:
            return self.ledger.redeem(bytes.fromhex(challenge.id), self.clock(), remembered)
        except NotRedeemable as error:
            raise _not_redeemed(error) from None


def _limited(reached: LimitReached, limits: Limits) -> Problem:
    """The refusal of an account that has reached one of its limits."""
    if reached.which == "rate":
        detail = f"{limits.requests_a_minute} requests a minute are allowed"
        return Problem("too_many_requests", detail, reached.retry_after)
    detail = f"{limits.pending} challenges may be open; solve them, or wait until they expire"
    return Problem("too_many_pending", detail, reached.retry_after)


def _not_repeated(error: NotRepeatable) -> Problem:
    """The refusal of an attempt that cannot be told from another one."""
    if error.why == "another":
        detail = "this Idempotency-Key was sent with another body; use a new one for each query"
        return Problem("key_reused", detail)
    return Problem("in_progress", "the same request is being answered", retry_after=1)


def _not_redeemed(error: NotRedeemable) -> Problem:
    """The refusal of a challenge that brings nothing."""
    if error.why == "spent":
        detail = "the challenge was redeemed before, and its answer is kept no longer"
        return Problem("spent", detail)
    return Problem("expired", "nothing is kept for the challenge; ask again for a new one")
