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
from scipy.stats import gamma

from gate.api_keys import key_digest, new_account
from gate.gate import TOO_LATE, Asked, Gate
from gate.ledgers.base import Account, Attempt, Ledger, Limits
from gate.payloads import query_digest
from gate.problems import Problem
from pow.calibration.linear import LinearCalibration
from pow.puzzles import HashcashPuzzle, PuzzleSettings, Sha256Puzzle, solve
from pow.tariff import Standing
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
        ("slowest_rate", -1.0, "slowest_rate must be above 0, not -1.0"),
    ],
)
def test_options_that_make_no_sense_are_named(option: str, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small_service(**{"answers": "topk", option: value})


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
    return Gate(small_service(**changes), METER, ledger, Clock())


def ask(gate: Gate, account: str, images: np.ndarray = IMAGES) -> Asked:
    id, probabilities = gate.admit(Account(account)), predict(images)
    assert isinstance(id, bytes)
    return gate.ask(account, id, images, probabilities, gate.meter.reveal(images, probabilities))


def admitted(gate: Gate) -> bytes:
    id = gate.admit(Account("bob"))
    assert isinstance(id, bytes)
    return id


def nonces_of(asked: Asked) -> list[int]:
    return list(solve(asked.signed.puzzle, workers=1).nonces)


def why_unchecked(gate: Gate, account: str, token: str, nonces: object) -> str:
    with pytest.raises(Problem) as caught:
        gate.check(account, token, nonces)
    return caught.value.reason


def cost_of(*queries: np.ndarray) -> float:
    return float(sum(1 + images[:, 0, 0, 0] for images in queries).sum())  # type: ignore[union-attr]


def test_what_was_asked_is_answered_the_same_each_time(ledger: Ledger) -> None:
    gate = make_gate(ledger, answers="hard")
    asked = ask(gate, "alice")
    challenge = gate.check("alice", asked.signed.token, nonces_of(asked))
    assert challenge == asked.signed.challenge
    assert (challenge.account, challenge.query) == ("alice", query_digest(IMAGES))
    assert (challenge.kind, challenge.difficulty, challenge.parts) == ("sha256", 16.0, 2)
    labels = predict(IMAGES).argmax(1).tolist()
    assert gate.given("alice", asked.signed.token) is None
    for answer in (gate.release(challenge), gate.given("alice", asked.signed.token), gate.release(challenge)):
        assert answer is not None
        assert json.loads(answer) == {"labels": labels, "query": challenge.query}
    gate.clock.now = challenge.expires  # type: ignore[attr-defined]
    with pytest.raises(Problem, match="has expired"):
        gate.given("alice", asked.signed.token)


def test_as_many_answers_are_remembered_as_may_be_open(ledger: Ledger) -> None:
    gate = make_gate(ledger, limits=Limits(pending=2, requests_a_minute=99))
    tokens = []
    for _ in range(3):
        asked = ask(gate, "alice")
        gate.release(gate.check("alice", asked.signed.token, nonces_of(asked)))
        tokens.append(asked.signed.token)
    assert all(gate.given("alice", token) for token in tokens[1:])
    with pytest.raises(Problem, match="its answer is kept no longer") as caught:
        gate.given("alice", tokens[0])
    assert caught.value.reason == "spent"


def test_the_same_attempt_gets_the_same_challenge(ledger: Ledger) -> None:
    gate, attempt = make_gate(ledger), Attempt("one", b"digest")
    id = gate.admit(Account("alice"), attempt)
    assert isinstance(id, bytes)
    with pytest.raises(Problem) as caught:
        gate.admit(Account("alice"), attempt)
    assert (caught.value.reason, caught.value.retry_after) == ("in_progress", 1)
    asked = gate.ask("alice", id, IMAGES, predict(IMAGES), METER.reveal(IMAGES, predict(IMAGES)))
    assert gate.admit(Account("alice"), attempt) == asked.signed
    with pytest.raises(Problem) as caught:
        gate.admit(Account("alice"), Attempt("one", b"another"))
    assert caught.value.reason == "key_reused"
    assert Standing.of(ledger.standings()["alice"]).queries == 3, "it is booked once"


@pytest.mark.parametrize("answers", ["soft", "topk"])
def test_probabilities_are_given_exactly(ledger: Ledger, answers: str) -> None:
    gate = make_gate(ledger, answers=answers)
    asked = ask(gate, "alice")
    given = json.loads(gate.release(gate.check("alice", asked.signed.token, nonces_of(asked))))
    probabilities = np.array(given["probabilities"], dtype=np.float32)
    assert np.array_equal(probabilities, gate.service.answer(predict(IMAGES)))
    assert np.count_nonzero(probabilities) == 3 * {"soft": 10, "topk": 3}[answers]


def prices(owed: list[float]) -> list[float]:
    """Powers of two, each of what is owed and what earlier ones have left."""
    asked, left = [], 0.0
    for each in owed:
        price = 1.0
        while 2 * price <= each + left:
            price *= 2
        asked.append(price)
        left += each - price
    return asked


def test_the_cost_rises_with_the_accounts_own_history(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST)
    first, second, third = IMAGES[:1], IMAGES, random_images(4, seed=1)
    asked = [ask(gate, "alice", images) for images in (first, second, third)]
    costs = np.cumsum([cost_of(first), cost_of(second), cost_of(third)]).tolist()
    assert [each.cost for each in asked] == costs
    assert [each.signed.challenge.difficulty for each in asked] == prices([8 * cost for cost in costs])
    assert [ask(gate, "bob", first).cost, ask(gate, "bob", second).cost] == costs[:2]


def paid(gate: Gate, images: np.ndarray) -> Asked:
    """What alice was asked for, and has paid."""
    asked = ask(gate, "alice", images)
    gate.release(asked.signed.challenge)
    return asked


def test_what_is_not_paid_for_settles_nothing(ledger: Ledger) -> None:
    """An attacker who leaves the requests that are asked for more than they owe."""
    gate = make_gate(ledger, calibration=BY_COST)
    owed, given = 0.0, 0.0
    for seed in range(60):
        before = Standing.of(ledger.standings()["alice"]).carried if seed else 0.0
        asked = ask(gate, "alice", random_images(1, seed))
        price, own = asked.signed.challenge.difficulty, 8 * asked.cost
        carried = Standing.of(ledger.standings()["alice"]).carried
        assert carried == max(before, before + own - price)
        if price <= own:
            gate.release(asked.signed.challenge)
            gate.release(asked.signed.challenge)
            owed, given = owed + own, given + price
        assert Standing.of(ledger.standings()["alice"]).carried == carried
    assert given + carried >= owed


def test_over_time_all_that_is_owed_is_asked_for(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST)
    asked = [paid(gate, random_images(1, seed)) for seed in range(60)]
    owed = [8 * each.cost for each in asked]
    difficulties = [each.signed.challenge.difficulty for each in asked]
    assert difficulties == prices(owed)
    assert 0 <= sum(owed) - sum(difficulties) < difficulties[-1]


def test_all_may_pay_for_each_other(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST, payer=lambda account: "everyone")
    costs = [ask(gate, account).cost for account in ("alice", "bob", "alice")]
    assert costs == [number * cost_of(IMAGES) for number in (1, 2, 3)]
    assert set(ledger.standings()) == {"everyone"}
    asked = ask(gate, "alice")
    assert why_unchecked(gate, "bob", asked.signed.token, nonces_of(asked)) == "other_account"


def test_what_cannot_be_booked_is_not_kept(ledger: Ledger) -> None:
    gate = make_gate(ledger)
    with pytest.raises(ValueError, match="not finite"):
        gate.ask("alice", b"id", IMAGES, predict(IMAGES), np.full((3, 1), np.nan))
    assert ledger.standings() == {} and ledger.sweep(1e10) == 0


def test_a_ledger_that_counts_something_else_is_refused(ledger: Ledger) -> None:
    make_gate(ledger, counted="digits")
    with pytest.raises(ValueError, match="the ledger counts digits, not mnist"):
        make_gate(ledger, counted="mnist")


def test_refusals_come_in_order_and_touch_no_ledger(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=replace(BY_COST, reference_rate=1e4))
    asked = ask(gate, "alice")
    token, nonces = asked.signed.token, nonces_of(asked)
    gate.ledger = None  # type: ignore[assignment]
    wrong = [next(it for it in range(99) if not asked.signed.puzzle.accepts(0, it)), nonces[1]]
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
    assert puzzle.difficulty > 500
    easier = Sha256Puzzle(puzzle.challenge, 2.0, 2)
    for other in (again.signed.puzzle, easier, HashcashPuzzle(puzzle.challenge, puzzle.difficulty, 2)):
        nonces = list(solve(other, workers=1).nonces)
        assert why_unchecked(gate, "alice", asked.signed.token, nonces) == "wrong_solution"
    assert gate.check("alice", asked.signed.token, nonces_of(asked))


def test_a_challenge_lives_for_the_lifetime_and_its_work(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST, lifetime=30.0, slowest_rate=2.0)
    asked = ask(gate, "alice")
    solving = gamma(a=2, scale=asked.signed.challenge.difficulty / 2).isf(TOO_LATE)  # of two parts
    assert asked.signed.challenge.expires == pytest.approx(gate.clock() + 30 + solving / 2.0, abs=1e-3)
    assert TOO_LATE < 1e-3, "of a thousand solutions on the slowest device fewer than one comes too late"
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
    assert asked.signed.puzzle == puzzle.puzzle(asked.signed.tag, 16.0)
    assert gate.check("alice", asked.signed.token, nonces_of(asked))


def test_limits_are_told_with_when_to_come_back(ledger: Ledger) -> None:
    gate = make_gate(ledger, limits=Limits(1, 2), lifetime=30.0, slowest_rate=1e9)
    ask(gate, "alice")
    with pytest.raises(Problem, match="1 challenges may be open") as caught:
        gate.admit(Account("alice"))
    assert caught.value.reason == "too_many_pending"
    assert caught.value.retry_after == pytest.approx(30, abs=0.01)
    gate.clock.now += 31  # type: ignore[attr-defined]
    gate.give_up(admitted(gate))
    gate.give_up(admitted(gate))
    with pytest.raises(Problem, match="2 requests a minute") as caught:
        admitted(gate)
    assert caught.value.reason == "too_many_requests"
    assert caught.value.retry_after == 60 - gate.clock() % 60


def test_an_attempt_whose_gate_was_killed_can_be_made_again(ledger: Ledger) -> None:
    gate, attempt = make_gate(ledger), Attempt("one", b"digest")
    gate.holding = 150.0
    killed = gate.admit(Account("alice"), attempt)
    with pytest.raises(Problem) as caught:
        gate.admit(Account("alice"), attempt)
    assert caught.value.reason == "in_progress"
    gate.clock.now += 150.5  # type: ignore[attr-defined]
    again = gate.admit(Account("alice"), attempt)
    assert isinstance(again, bytes) and again != killed


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
    assert ledger.find_account(key_digest(key)) == Account("alice")
    assert ledger.find_account(key_digest(key + " ")) is None
    assert new_account(ledger, "bob") != key


@pytest.mark.parametrize("name", ["", "a b", "a\n", "é", "a" * 65, "../alice", "'; --", "a:b"])
def test_a_bad_name_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 letters"):
        new_account(ledger, name)
