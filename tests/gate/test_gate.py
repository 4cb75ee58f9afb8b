"""The gate without HTTP: what it asks for an answer, what it books, checks, refuses and gives."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gate.api_keys import key_digest, new_account
from gate.challenges import SECRET_BYTES, Keyring
from gate.gate import Asked, Gate
from gate.ledgers.base import Ledger, Limits
from gate.payloads import query_digest
from gate.problems import Problem
from pow.calibration.linear import LinearCalibration
from pow.puzzles import HashcashPuzzle, PuzzleSettings, Sha256Puzzle, solve
from support.gates.server import (
    FREE,
    LARGEST_BATCH,
    METER,
    predict,
    random_images,
    small_ledger,
    small_service,
)

# The service


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("answers", "loud", "answers must be one of soft, topk, hard, not 'loud'"),
        ("top_k", 0, "top_k must be between 1 and the 10 classes, not 0"),
        ("top_k", 11, "top_k must be between 1 and the 10 classes, not 11"),
        ("lifetime", 0, "lifetime must be above 0, not 0"),
        ("lifetime", float("nan"), "lifetime must be above 0, not nan"),
        ("patience", -1.0, "patience must be above 0, not -1.0"),
    ],
)
def test_options_that_make_no_sense_are_named(option: str, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small_service(**{option: value})


def test_answers_are_as_rich_as_chosen() -> None:
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32)

    def answer(**changes: Any) -> np.ndarray:
        return small_service(classes=4, **changes).answer(probabilities)

    assert np.array_equal(answer(), probabilities)
    two = np.array([[0, 0, 0.3, 0.4], [0.25, 0.25, 0, 0]], dtype=np.float32)
    assert np.array_equal(answer(answers="topk", top_k=2), two)
    assert np.array_equal(answer(answers="topk", top_k=4), probabilities)
    assert answer(answers="topk").dtype == np.float32
    assert answer(answers="hard").tolist() == [3, 0]


# The gate

IMAGES = random_images(3)
KEYRING = Keyring([b"k" * SECRET_BYTES])

BY_COST = LinearCalibration(FREE, slope=0.125, floor=1e-6, request_size=LARGEST_BATCH, reference_rate=64.0)
"""An eighth of a second, 8 hashes, for a unit of cost."""


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(small_ledger(tmp_path)) as ledger:
        yield ledger


def make_gate(ledger: Ledger, **changes: Any) -> Gate:
    return Gate(small_service(**changes), METER, ledger, KEYRING, Clock())


def ask(gate: Gate, account: str, images: np.ndarray = IMAGES) -> Asked:
    id, probabilities = gate.admit(account), predict(images)
    return gate.ask(account, id, images, probabilities, gate.meter.reveal(images, probabilities))


def nonces_of(asked: Asked) -> list[int]:
    return list(solve(asked.signed.puzzle, workers=1).nonces)


def why_unchecked(gate: Gate, account: str, token: str, nonces: object) -> str:
    with pytest.raises(Problem) as caught:
        gate.check(account, token, nonces)
    return caught.value.reason


def cost_of(*queries: np.ndarray) -> float:
    return float(sum(1 + images[:, 0, 0, 0] for images in queries).sum())  # type: ignore[union-attr]


def test_what_was_asked_is_answered_once(ledger: Ledger) -> None:
    gate = make_gate(ledger, answers="hard")
    asked = ask(gate, "alice")
    challenge = gate.check("alice", asked.signed.token, nonces_of(asked))
    assert challenge == asked.signed.challenge
    assert (challenge.account, challenge.query) == ("alice", query_digest(IMAGES))
    assert (challenge.kind, challenge.difficulty, challenge.parts) == ("sha256", 20.0, 2)
    labels = predict(IMAGES).argmax(1).tolist()
    assert json.loads(gate.release(challenge)) == {"labels": labels, "query": challenge.query}
    with pytest.raises(Problem, match="redeemed before") as caught:
        gate.release(challenge)
    assert caught.value.reason == "spent"


@pytest.mark.parametrize("answers", ["soft", "topk"])
def test_probabilities_are_given_exactly(ledger: Ledger, answers: str) -> None:
    gate = make_gate(ledger, answers=answers)
    asked = ask(gate, "alice")
    given = json.loads(gate.release(gate.check("alice", asked.signed.token, nonces_of(asked))))
    probabilities = np.array(given["probabilities"], dtype=np.float32)
    assert np.array_equal(probabilities, gate.service.answer(predict(IMAGES)))
    assert np.count_nonzero(probabilities) == 3 * {"soft": 10, "topk": 3}[answers]


def test_the_cost_rises_with_the_accounts_own_history(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST)
    first, second, third = IMAGES[:1], IMAGES, random_images(4, seed=1)
    seconds = [ask(gate, "alice", images).seconds for images in (first, second, third)]
    costs = [cost_of(first), cost_of(first) + cost_of(second)]
    costs.append(costs[1] + cost_of(third))
    assert seconds == [cost / 8 for cost in costs]
    assert [ask(gate, "bob", first).seconds, ask(gate, "bob", second).seconds] == seconds[:2]
    asked = ask(gate, "alice", first)
    assert asked.signed.challenge.difficulty == 64 * asked.seconds == 8 * (costs[2] + cost_of(first))


def test_all_may_pay_for_each_other(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST, payer=lambda account: "everyone")
    seconds = [ask(gate, account).seconds for account in ("alice", "bob", "alice")]
    assert seconds == [number * cost_of(IMAGES) / 8 for number in (1, 2, 3)]
    assert ledger.totals("alice") is None and ledger.totals("everyone") is not None
    asked = ask(gate, "alice")
    assert why_unchecked(gate, "bob", asked.signed.token, nonces_of(asked)) == "other_account"


def test_what_is_revealed_is_booked_before_it_is_kept(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = make_gate(ledger)

    def full(*arguments: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(ledger, "keep", full)
    with pytest.raises(OSError, match="disk is full"):
        ask(gate, "alice")
    booked = ledger.totals("alice")
    assert booked is not None
    assert booked.queries == 3 and booked.revealed.tolist() == [cost_of(IMAGES)]


def test_what_cannot_be_booked_is_not_kept(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = make_gate(ledger)
    monkeypatch.setattr(ledger, "keep", lambda *arguments: pytest.fail("an answer was kept"))
    with pytest.raises(ValueError, match="not finite"):
        gate.ask("alice", b"id", IMAGES, predict(IMAGES), np.full((3, 1), np.nan))


def test_refusals_come_in_order_and_touch_no_ledger(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=replace(BY_COST, reference_rate=1e4))
    asked = ask(gate, "alice")
    token, nonces = asked.signed.token, nonces_of(asked)
    gate.ledger = None  # type: ignore[assignment]
    wrong = [nonces[0] + 1, nonces[1]]
    assert gate.check("alice", token, nonces) == asked.signed.challenge
    assert why_unchecked(gate, "alice", token, wrong) == "wrong_solution"
    gate.clock.now = asked.signed.challenge.expires - 1e-3  # type: ignore[attr-defined]
    assert gate.check("alice", token, tuple(nonces)) == asked.signed.challenge
    gate.clock.now = asked.signed.challenge.expires  # type: ignore[attr-defined]
    assert why_unchecked(gate, "alice", token, nonces) == "expired"
    assert why_unchecked(gate, "alice", token, wrong) == "expired"
    assert why_unchecked(gate, "bob", token, wrong) == "other_account"
    assert why_unchecked(gate, "bob", token + "A", wrong) == "forged_challenge"


@pytest.mark.parametrize(
    "nonces", [[], [0], [0, 0, 0], None, "00", {"0": 0}, [True, False], [0.0, 0.0], [-1, -1], [2**64, 2**64]]
)
def test_what_is_no_solution_is_refused(ledger: Ledger, nonces: object) -> None:
    # Of difficulty 1 a part, so that any nonce would do.
    gate = make_gate(ledger, calibration=replace(BY_COST, slope=1e-9))
    asked = ask(gate, "alice")
    assert gate.check("alice", asked.signed.token, [0, 2**64 - 1])
    assert why_unchecked(gate, "alice", asked.signed.token, nonces) == "wrong_solution"


def test_a_solution_of_another_puzzle_is_refused(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=replace(BY_COST, reference_rate=4000.0))
    asked, again = ask(gate, "alice"), ask(gate, "alice")
    puzzle = asked.signed.puzzle
    assert puzzle.difficulty > 1000
    easier = Sha256Puzzle(puzzle.challenge, 2.0, 2)
    for other in (again.signed.puzzle, easier, HashcashPuzzle(puzzle.challenge, puzzle.difficulty, 2)):
        nonces = list(solve(other, workers=1).nonces)
        assert why_unchecked(gate, "alice", asked.signed.token, nonces) == "wrong_solution"
    assert gate.check("alice", asked.signed.token, nonces_of(asked))


def test_a_challenge_lives_for_the_lifetime_and_its_work(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST, lifetime=30.0, patience=4.0)
    asked = ask(gate, "alice")
    assert asked.signed.challenge.expires == gate.clock() + 30 + 4 * cost_of(IMAGES) / 8
    challenge = gate.check("alice", asked.signed.token, nonces_of(asked))
    gate.clock.now = challenge.expires  # type: ignore[attr-defined]
    with pytest.raises(Problem) as caught:
        gate.release(challenge)
    assert caught.value.reason == "expired"


def test_the_puzzles_options_are_asked_for(ledger: Ledger) -> None:
    puzzle = PuzzleSettings(HashcashPuzzle, 2, {"date": "240229"})
    gate = make_gate(ledger, puzzle=puzzle)
    asked = ask(gate, "alice")
    assert asked.signed.challenge.options == {"date": "240229"}
    assert asked.signed.puzzle == puzzle.puzzle(asked.signed.tag, 20.0)
    assert gate.check("alice", asked.signed.token, nonces_of(asked))


def test_limits_are_told_with_when_to_come_back(ledger: Ledger) -> None:
    gate = make_gate(ledger, limits=Limits(pending=1, requests_a_minute=2), lifetime=30.0)
    ask(gate, "alice")
    with pytest.raises(Problem, match="1 challenges may be open") as caught:
        gate.admit("alice")
    assert caught.value.reason == "too_many_pending"
    assert caught.value.retry_after == pytest.approx(30 + 20 * 0.001)
    gate.clock.now += 31  # type: ignore[attr-defined]
    gate.give_up(gate.admit("bob"))
    gate.give_up(gate.admit("bob"))
    with pytest.raises(Problem, match="2 requests a minute") as caught:
        gate.admit("bob")
    assert caught.value.reason == "too_many_requests"
    assert caught.value.retry_after == 60 - gate.clock() % 60


# API keys


def test_a_key_is_nowhere_in_the_ledgers_files(tmp_path: Path, ledger: Ledger) -> None:
    key = new_account(ledger, "alice")
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"alice" in kept and key_digest(key) in kept
    assert (
        key.removeprefix("tg_").encode() not in kept and base64.urlsafe_b64decode(key[3:] + "=") not in kept
    )
    assert key_digest(key).hex().encode() not in kept
    assert len(base64.urlsafe_b64decode(key[3:] + "=")) == 32
    assert ledger.find_account(key_digest(key)) == "alice"
    assert ledger.find_account(key_digest(key + " ")) is None
    assert new_account(ledger, "bob") != key


@pytest.mark.parametrize("name", ["", "a b", "a\n", "é", "a" * 65, "../alice", "'; --", "a:b"])
def test_a_bad_name_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 letters"):
        new_account(ledger, name)
