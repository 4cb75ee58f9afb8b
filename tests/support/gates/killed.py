"""A gate that is killed again and again under load, and what its callers saw."""

from __future__ import annotations

import http.client
import json
import random
import signal
import threading
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI

from gate.protocol import encode
from gate.steps import NPY
from pow.calibration.linear import LinearCalibration
from pow.puzzles import KINDS, PuzzleSettings, solve
from pow.tariff import Standing
from support.gates.server import (
    FREE,
    LARGEST_BATCH,
    add_accounts,
    free_port,
    predict,
    price,
    process_serving,
    random_images,
    small_app,
    small_ledger,
    wait_for,
)

SECONDS_A_UNIT = 2.0**-20
"""Exact, and so little that every puzzle stays as small as one can be."""


BY_COST = LinearCalibration(
    FREE, slope=SECONDS_A_UNIT, floor=2.0**-30, request_size=LARGEST_BATCH, reference_rate=1 / SECONDS_A_UNIT
)


def app_by_cost(folder: Path) -> FastAPI:
    """The gate of a folder; the hashes that it asks a client for give away the account's cost."""
    return small_app(folder, calibration=BY_COST, lifetime=3600.0)


class Cut(Exception):
    """The server was gone before it had answered."""


@dataclass
class Caller:
    """Asks and redeems for an account until told to stop, and notes all that it sees.

    `sent` and `told` are the queries and their cost in requests that were sent, and in those that were
    answered; `highest` is the highest cost of the account that was told; `solved` are solutions, `open`
    those of them that were never sent; `answers` counts those that were given, by challenge.
    """

    port: int
    key: str
    seed: int
    stopped: threading.Event
    sent: np.ndarray = field(default_factory=lambda: np.zeros(2))
    told: np.ndarray = field(default_factory=lambda: np.zeros(2))
    highest: float = 0.0
    solved: dict[str, bytes] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    answers: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def run(self) -> None:
        """Until stopped, through whatever happens to the server."""
        with closing(self.connection):
            while not self.stopped.is_set():
                with suppress(Cut):
                    self.ask_and_redeem()

    def ask_and_redeem(self) -> None:
        """One exchange; now and then it ends early, or goes on too long."""
        images = random_images(self.random.randint(1, LARGEST_BATCH), self.random.getrandbits(32))
        probabilities = predict(images)
        worth = np.array([len(images), price(images, probabilities).sum()])
        self.connect()
        self.sent += worth
        status, said = self.post("/v1/predict", encode(images))
        assert status == 402, said
        self.told += worth
        self.highest = max(self.highest, said["puzzle"]["difficulty"])
        asked = said["puzzle"]
        puzzle = PuzzleSettings(KINDS[asked["kind"]], asked["parts"]).puzzle(
            bytes.fromhex(asked["challenge"]), asked["difficulty"]
        )
        challenge = said["challenge"]
        body = json.dumps({"challenge": challenge, "nonces": solve(puzzle, workers=1).nonces}).encode()
        self.solved[challenge] = body
        self.open.add(challenge)
        if self.random.random() < 0.2:
            return
        self.open.discard(challenge)
        status, said = self.redeem(challenge)
        assert status == 200, said
        assert np.array_equal(np.array(said["probabilities"], dtype=np.float32), probabilities)
        if self.random.random() < 0.2:
            assert self.redeem(challenge) == (200, said), "it is the same each time"

    def cut(self) -> set[str]:
        """Challenges whose redemption was sent, and whose answer did not come."""
        return set(self.solved) - self.open - set(self.answers)

    def check_answers(self) -> None:
        """Redeem all again: whatever was paid for is answered, and the same as before."""
        with closing(self.connection):
            for challenge in self.solved:
                status, said = self.redeem(challenge)
                assert status == 200, said
                assert len(self.answers[challenge]) == 1, "a challenge has one answer"

    def connect(self) -> None:
        """Raises Cut where no server listens: what was not sent cannot have been booked."""
        try:
            if self.connection.sock is None:
                self.connection.connect()
        except OSError:
            time.sleep(0.01)
            raise Cut from None

    def redeem(self, challenge: str) -> tuple[int, dict[str, Any]]:
        """Status and body; an answer is noted."""
        status, said = self.post("/v1/redeem", self.solved[challenge])
        if status == 200:
            self.answers[challenge].add(json.dumps(said))
        return status, said

    def post(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and body of the response; raises Cut where there is none."""
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": NPY}
            self.connection.request("POST", path, body, headers)
            response = self.connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException):
            self.connection.close()
            time.sleep(0.01)
            raise Cut from None


@dataclass(frozen=True)
class Outcome:
    """What clients saw of a gate's lives: challenges, answers, and redemptions that were cut off."""

    kills: int
    challenges: int
    answers: int
    cut: int


def kill_again_and_again(folder: Path, kills: int, seed: int) -> Outcome:
    """Kill a gate under load at random moments; fails if it gives an answer twice or forgets a cost."""
    chance, keys, port, stopped = random.Random(seed), add_accounts(folder), free_port(), threading.Event()
    crowds = {
        account: [Caller(port, key, chance.getrandbits(32), stopped) for _ in range(2)]
        for account, key in keys.items()
    }
    callers = [caller for crowd in crowds.values() for caller in crowd]
    gate = partial(process_serving, partial(app_by_cost, folder), port)
    with ThreadPoolExecutor(len(callers)) as threads:
        running = [threads.submit(caller.run) for caller in callers]
        try:
            for _ in range(kills):
                with gate() as process:
                    under_load(callers, running)
                    time.sleep(chance.uniform(0, 0.3))
                    process.kill()
                    process.join()
                    assert process.exitcode == -signal.SIGKILL
        finally:
            stopped.set()
        for each in running:
            each.result()
    cut = sum(len(caller.cut()) for caller in callers)
    with gate():
        wait_for(port)
        for caller in callers:
            caller.check_answers()
    with closing(small_ledger(folder)) as ledger:
        for account, crowd in crowds.items():
            standing = Standing.of(ledger.standings()[account])
            total = np.array([standing.queries, standing.sums[0]])
            assert np.all(sum(caller.told for caller in crowd) <= total), "a cost was lost"
            assert np.all(total <= sum(caller.sent for caller in crowd)), "a cost was booked twice"
            highest = max(caller.highest for caller in crowd)
            assert highest < 2 * total[1], "a cost was lost: less than twice what is owed is asked for"
    challenges, answers = (
        sum(len(getattr(caller, what)) for caller in callers) for what in ("solved", "answers")
    )
    return Outcome(kills, challenges, answers, cut)


def under_load(callers: list[Caller], running: list[Future[None]]) -> None:
    """Return when a new gate has answered somebody."""
    before = sum(len(caller.solved) for caller in callers)
    while sum(len(caller.solved) for caller in callers) == before:
        assert not any(each.done() for each in running), "a client failed"
        time.sleep(0.002)
