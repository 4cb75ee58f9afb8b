"""A gate that is killed again and again under load gives no answer twice and forgets no cost.

`python -m benchmarks.gate --kill 50` does it for longer.
"""

from __future__ import annotations

import http.client
import json
import random
import signal
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from gate_server import (
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
)

from pow.calibration.linear import LinearCalibration
from pow.gate.images import NPY, encode
from pow.puzzles import KINDS, PuzzleSettings, solve

SECONDS_A_UNIT = 2.0**-20
"""Exact, and so little that every puzzle stays as small as one can be."""

BY_COST = LinearCalibration(
    FREE, slope=SECONDS_A_UNIT, floor=2.0**-30, request_size=LARGEST_BATCH, reference_rate=1.0
)


def app_by_cost(folder: Path) -> FastAPI:
    """The gate of a folder; the seconds that it tells a client give away the account's cost."""
    return small_app(folder, calibration=BY_COST)


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
    answers: Counter[str] = field(default_factory=Counter)

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
        """One conversation; now and then it ends early, or goes on too long."""
        images = random_images(self.random.randint(1, LARGEST_BATCH), self.random.getrandbits(32))
        probabilities = predict(images)
        worth = np.array([len(images), price(images, probabilities).sum()])
        self.sent += worth
        status, said = self.post("/v1/predict", encode(images))
        assert status == 402, said
        self.told += worth
        self.highest = max(self.highest, said["seconds"] / SECONDS_A_UNIT)
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
            assert self.redeem(challenge)[0] == 409

    def redeem(self, challenge: str) -> tuple[int, dict[str, Any]]:
        """Status and body; an answer is noted."""
        status, said = self.post("/v1/redeem", self.solved[challenge])
        self.answers[challenge] += status == 200
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
class Killed:
    """What a gate that was killed so often did in its lives: requests and answers that clients saw, and
    requests whose fate they did not see."""

    kills: int
    asked: int
    answered: int
    unknown: int


def kill_again_and_again(folder: Path, kills: int, seed: int, callers: int = 4) -> Killed:
    """Run a gate under load, kill it at random moments, and check what its ledger knows."""
    chance, keys, port = random.Random(seed), add_accounts(folder), free_port()
    stopped = threading.Event()
    accounts = ["alice", "bob"] * (callers // 2)
    crowd = [
        Caller(port, keys[account], 1000 * seed + number, stopped) for number, account in enumerate(accounts)
    ]
    threads = [CheckedThread(caller) for caller in crowd]
    for thread in threads:
        thread.start()
    try:
        for _ in range(kills):
            seen = sum(len(caller.solved) for caller in crowd)
            with process_serving(partial(app_by_cost, folder), port) as process:
                while sum(len(caller.solved) for caller in crowd) == seen:
                    assert process.is_alive() and all(thread.is_alive() for thread in threads)
                    time.sleep(0.005)
                time.sleep(chance.uniform(0, 0.4))
                process.kill()
                process.join()
                assert process.exitcode == -signal.SIGKILL
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    with process_serving(partial(app_by_cost, folder), port):
        check_answers(crowd)
    check_ledger(folder, dict.fromkeys(accounts), crowd, accounts)
