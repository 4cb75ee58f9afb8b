"""The gate itself, without HTTP: a query is answered, booked, and its answer kept until work is shown."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from gate.challenges import Challenge, InvalidChallenge, Keyring, Signed
from gate.ledgers.base import Ledger, LimitReached, Limits, NotRedeemable
from gate.meters import GateMeter
from gate.payloads import as_json, query_digest
from gate.problems import Problem
from pow.calibration import Calibration
from pow.puzzles import PuzzleSettings, verify

AnswerKind = Literal["soft", "topk", "hard"]


@dataclass(frozen=True)
class Service:
    """What is served, and for what work.

    `payer` says whose costs add up, by default each account's own. A challenge lives for `lifetime` seconds
    and `patience` times as long as its puzzle takes the reference client. Raises ValueError naming the option
    for values that make no sense.
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
    payer: Callable[[str], str] = str

    def __post_init__(self) -> None:
        if self.answers not in get_args(AnswerKind):
            valid = ", ".join(get_args(AnswerKind))
            raise ValueError(f"answers must be one of {valid}, not {self.answers!r}")
        if not 1 <= self.top_k <= self.classes:
            raise ValueError(f"top_k must be between 1 and the {self.classes} classes, not {self.top_k}")
        for name in ("lifetime", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")

    @property
    def largest_batch(self) -> int:
        """Images that a request may hold: those that are charged together."""
        return self.calibration.request_size

    def answer(self, probabilities: np.ndarray) -> np.ndarray:
        """What a client gets of the model's probabilities `[n, classes]`."""
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
    """A challenge for a query, and the seconds that it takes the reference client."""

    signed: Signed
    seconds: float


class Gate:
    """Asks for work before answers are given. The ledger and the keys may be those of several gates."""

    def __init__(
        self,
        service: Service,
        meter: GateMeter,
        ledger: Ledger,
        keyring: Keyring,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service, self.meter, self.ledger, self.keyring, self.clock = (
            service,
            meter,
            ledger,
            keyring,
            clock,
        )

    def admit(self, account: str) -> bytes:
        """Count a request, and hold the place of its challenge, whose id is returned.

        Raises Problem when the account has too many, or too many challenges open. A place that neither `ask`
        takes nor `give_up` gives up, since the process was killed, is held as long as a challenge lives.
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
        """Say that no challenge of this id will come of a request that was admitted."""
        self.ledger.give_up(id)

    def ask(
        self, account: str, id: bytes, images: np.ndarray, probabilities: np.ndarray, revealed: np.ndarray
    ) -> Asked:
        """Book what the answers reveal, keep them, and give the challenge of this id, which releases them.

        The booking comes first: asking for a price and walking away is not free.
        """
        service = self.service
        booked = self.ledger.book(service.payer(account), len(images), revealed.sum(0))
        cost = self.meter.cost(booked.revealed)
        calibration = service.calibration
        seconds = calibration.seconds(np.array([cost]), np.array([booked.queries]))
        difficulty = float(calibration.expected_hashes(seconds)[0])
        lifetime = service.lifetime + service.patience * float(seconds[0])
        puzzle = service.puzzle.puzzle(b"any", difficulty)
        challenge = Challenge(
            id=id.hex(),
            account=account,
            query=query_digest(images),
            kind=puzzle.kind,
            difficulty=puzzle.difficulty,
            parts=puzzle.parts,
            expires=self.clock() + lifetime,
            options=dict(service.puzzle.options),
        )
        answer = as_json(service.answer(probabilities)) | {"query": challenge.query}
        self.ledger.keep(id, account, json.dumps(answer).encode(), challenge.expires)
        return Asked(self.keyring.sign(challenge), float(seconds[0]))

    def check(self, account: str, token: str, nonces: Any) -> Challenge:
        """The challenge that this account solved; raises Problem. Touches no ledger."""
        try:
            signed = self.keyring.open(token)
        except InvalidChallenge:
            raise Problem("forged_challenge", "this gate did not issue the challenge") from None
        challenge = signed.challenge
        if challenge.account != account:
            raise Problem("other_account", "the challenge was issued to another account")
        if challenge.expires <= self.clock():
            raise Problem("expired", "the challenge has expired; ask again for a new one")
        if not verify(signed.puzzle, nonces):
            raise Problem("wrong_solution", "the nonces do not solve this challenge's puzzle")
        return challenge

    def release(self, challenge: Challenge) -> bytes:
        """The answer, as JSON, of a challenge that was checked; once. Raises Problem."""
        try:
            return self.ledger.redeem(bytes.fromhex(challenge.id), self.clock())
        except NotRedeemable as error:
            if error.why == "spent":
                raise Problem("spent", "the challenge was redeemed before") from None
            raise Problem("expired", "nothing is kept for the challenge; ask again for a new one") from None
