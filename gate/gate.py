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
from gate.challenges import Challenge, InvalidChallenge, Keyring, Signed
from gate.ledgers.base import Ledger, LimitReached, Limits, NotRedeemable
from gate.meters import GateMeter
from gate.payloads import as_json, query_digest
from gate.problems import Problem
from pow.calibration import Calibration
from pow.calibration.progressive import ProgressiveCalibration
from pow.puzzles import PuzzleSettings, verify
from pow.requests import check_opening, opening_hashes
from pow.tariff import Standing, Tariff
from storage.options import check_choice

AnswerKind = Literal["soft", "topk", "hard"]

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
        lifetime: Seconds for which every challenge is valid.
        patience: A challenge is valid for this many times the reference client's solving time in addition.
        spread: Images over which a progressive calibration asks for what one of them owes; see pow.tariff.
        open_accounts: Whether strangers may open an account, for work.
        account_seconds: That work, in seconds of the reference client.
        openings: Accounts that all strangers together may open in a minute.
        payer: Maps an account to the group whose costs add up; default the account itself.

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
    patience: float = 20.0
    spread: int = 32
    open_accounts: bool = False
    account_seconds: float = 0.0
    openings: int = 10
    payer: Callable[[str], str] = str

    def __post_init__(self) -> None:
        check_choice("answers", self.answers, AnswerKind)
        if not 1 <= self.top_k <= self.classes:
            raise ValueError(f"top_k must be between 1 and the {self.classes} classes, not {self.top_k}")
        for name in ("lifetime", "patience"):
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
    """A signed challenge for a query, and the seconds that it takes the reference client.

    The seconds are for the gate's own counts: on the wire there are hashes only.
    """

    signed: Signed
    seconds: float


class Gate:
    """Asks for work before it gives an answer.

    Args:
        service: What is served, and for what work.
        meter: Measures what answers reveal.
        ledger: Accounts, totals and answers; several gates may share it.
        keyring: Signs challenges; several gates may share its keys.
        clock: Gives the time in seconds since 1970.
    """

    def __init__(
        self,
        service: Service,
        meter: GateMeter,
        ledger: Ledger,
        keyring: Keyring,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service, self.meter = service, meter
        self.ledger, self.keyring, self.clock = ledger, keyring, clock

    def admit(self, account: str) -> bytes:
        """Count a request, hold a place for its challenge, and return the challenge's id.

        `ask` fills the place and `give_up` frees it. If the process is killed before, the place expires after
        the service's `lifetime`. Raises Problem if the account has reached one of its limits.
        """
        service, limits, now, id = self.service, self.service.limits, self.clock(), secrets.token_bytes(16)
        try:
            self.ledger.admit(account, id, now, now + service.lifetime, limits)
        except LimitReached as reached:
            if reached.which == "rate":
                detail = f"{limits.requests_a_minute} requests a minute are allowed"
                raise Problem("too_many_requests", detail, reached.retry_after) from None
            detail = f"{limits.pending} challenges may be open; solve them, or wait until they expire"
            raise Problem("too_many_pending", detail, reached.retry_after) from None
        return id

    def give_up(self, id: bytes) -> None:
        """Free the place of an admitted request that gets no challenge."""
        self.ledger.give_up(id)

    def ask(
        self, account: str, id: bytes, images: np.ndarray, probabilities: np.ndarray, revealed: np.ndarray
    ) -> Asked:
        """Book what the answers reveal, keep them, and issue the challenge that releases them.

        The booking comes first, so that asking for a price and leaving is not free.

        Args:
            account: Account that asks.
            id: Id that `admit` returned.
            images: Images in [0, 1], float32 `[n, c, h, w]`.
            probabilities: The model's answers, float32 `[n, classes]`.
            revealed: What the meter makes of them, float64 `[n, d]`.
        """
        seconds, hashes = self._book(account, len(images), revealed)
        challenge = self._challenge(account, id, query_digest(images), hashes, seconds)
        answer = as_json(self.service.answer(probabilities)) | {"query": challenge.query}
        self.ledger.keep(id, account, json.dumps(answer).encode(), challenge.expires)
        return Asked(self.keyring.sign(challenge), seconds)

    def _book(self, account: str, queries: int, revealed: np.ndarray) -> tuple[float, float]:
        """Add queries to what the payer has revealed; return the seconds and hashes that are asked for."""
        calibration, payer = self.service.calibration, self.service.payer(account)
        if isinstance(calibration, ProgressiveCalibration):
            tariff = Tariff(calibration, self.service.spread, self.service.puzzle)
            hashes = self._by_tariff(tariff, payer, revealed)
            return hashes / calibration.reference_rate, hashes
        booked = self.ledger.book(payer, queries, revealed.sum(0))
        after = np.array([self.meter.cost(booked.revealed)])
        # These charge a request by where it ends, so what was before it does not matter.
        charged = calibration.charged(after, after, np.array([booked.queries]), np.array([True]))
        return float(charged[0]), float(calibration.expected_hashes(charged)[0])

    def _by_tariff(self, tariff: Tariff, payer: str, revealed: np.ndarray) -> float:
        now = self.clock()

        def change(numbers: np.ndarray | None) -> np.ndarray:
            before = tariff.fresh(revealed.shape[1], now) if numbers is None else Standing.of(numbers)
            return tariff.after(before, revealed, now).vector()

        return Standing.of(self.ledger.update(payer, change)).price

    def ask_account(self) -> Asked:
        """Issue a challenge for a new account, worth `account_seconds` of work; nothing is kept of it."""
        service, seconds = self.service, self.service.account_seconds
        hashes = opening_hashes(service.calibration, service.puzzle, seconds)
        name = f"account-{secrets.token_hex(8)}"
        challenge = self._challenge(name, secrets.token_bytes(16), OPENING, hashes, seconds)
        return Asked(self.keyring.sign(challenge), seconds)

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

    def _challenge(self, account: str, id: bytes, query: str, hashes: float, seconds: float) -> Challenge:
        service = self.service
        puzzle = service.puzzle.puzzle(b"any", hashes)
        return Challenge(
            id=id.hex(),
            account=account,
            query=query,
            kind=puzzle.kind,
            difficulty=puzzle.difficulty,
            parts=puzzle.parts,
            expires=self.clock() + service.lifetime + service.patience * seconds,
            options=dict(service.puzzle.options),
        )

    def check(self, account: str, token: str, nonces: Any) -> Challenge:
        """Return the challenge that this account solved, without a look at the ledger.

        Args:
            account: Account that redeems it.
            token: Token that was issued.
            nonces: Claimed solution; see `pow.puzzles.verify`.

        Raises:
            Problem: The challenge is forged, expired or another account's, or the nonces do not solve it.
        """
        signed = self._opened(token)
        challenge = signed.challenge
        if challenge.query == OPENING:
            raise Problem("forged_challenge", "the challenge was issued for a new account, not for an answer")
        if challenge.account != account:
            raise Problem("other_account", "the challenge was issued to another account")
        self._check_solved(signed, nonces)
        return challenge

    def _opened(self, token: str) -> Signed:
        try:
            return self.keyring.open(token)
        except InvalidChallenge:
            raise Problem("forged_challenge", "this gate did not issue the challenge") from None

    def _check_solved(self, signed: Signed, nonces: Any) -> None:
        if signed.challenge.expires <= self.clock():
            raise Problem("expired", "the challenge has expired; ask again for a new one")
        if not verify(signed.puzzle, nonces):
            raise Problem("wrong_solution", "the nonces do not solve this challenge's puzzle")

    def release(self, challenge: Challenge) -> bytes:
        """Return the answer, as JSON, of a checked challenge, once; raise Problem afterwards."""
        try:
            return self.ledger.redeem(bytes.fromhex(challenge.id), self.clock())
        except NotRedeemable as error:
            if error.why == "spent":
                raise Problem("spent", "the challenge was redeemed before") from None
            raise Problem("expired", "nothing is kept for the challenge; ask again for a new one") from None
