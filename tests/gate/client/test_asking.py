"""Clients get what the model says, pay no more than they will, and distrust a stranger's words."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import gate.client
import gate.model.asking
from gate import protocol, steps
from gate.client import AsyncClient, Client, Refused, TooExpensive, Willing
from pow.puzzles import KINDS, PuzzleSettings, Solution
from support.gates.over_http import IMAGES, Server, count
from support.gates.server import (
    FEW_HASHES,
    IMAGE_SHAPE,
    add_accounts,
    predict,
    running,
    small_app,
)


def test_a_client_gets_what_the_model_says(server: Server) -> None:
    images = np.random.default_rng(0).random((9, *IMAGE_SHAPE), dtype=np.float32)
    issued, solutions = (count(server, f"tollgate_puzzles_{what}") for what in ("issued", "solved"))
    with server.client() as client:
        answers = client.predict(images)
        assert answers.dtype == np.float32
        assert np.array_equal(answers, predict(images))
        assert count(server, "tollgate_puzzles_issued") - issued == 3
        assert count(server, "tollgate_puzzles_solved") - solutions == 3
        receipt = client.request(images[:2])
        assert receipt.expected_hashes == 4096
        assert receipt.tried_hashes > 2 and receipt.solve_seconds > 0
        levels = np.arange(64, dtype=np.uint8).reshape(1, *IMAGE_SHAPE)
        assert np.array_equal(client.predict(levels), predict(levels / np.float32(255)))
        model = client.model()
        assert (model.image_shape, model.classes, model.answers, model.largest_batch) == (
            (1, 8, 8),
            10,
            "soft",
            4,
        )

    async def ask() -> np.ndarray:
        async with AsyncClient(server.url, server.keys["alice"], Willing(workers=1)) as client:
            assert await client.model() == model
            return await client.predict(images)

    assert np.array_equal(asyncio.run(ask()), answers)


def test_labels_are_whole_numbers(tmp_path: Path) -> None:
    with ExitStack() as stack:
        keys = add_accounts(tmp_path)
        url = stack.enter_context(running(small_app(tmp_path, answers="hard")))
        answers = stack.enter_context(Client(url, keys["alice"])).predict(IMAGES)
        assert answers.dtype == np.int64 and np.array_equal(answers, predict(IMAGES).argmax(1))


def test_what_is_too_dear_is_not_begun(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(gate.client, "solve", lambda *arguments, **options: pytest.fail("it worked"))
        with (
            server.client(max_hashes=4095.0) as client,
            pytest.raises(TooExpensive, match=r"4\.1e\+03 hashes"),
        ):
            client.predict(IMAGES)
    with server.client(max_hashes=4097.0) as client:
        assert np.array_equal(client.predict(IMAGES), predict(IMAGES))


def test_work_ends_when_the_time_is_up(tmp_path: Path) -> None:
    endless = replace(FEW_HASHES, reference_rate=1e13)
    willing = Willing(workers=1, solve_seconds=0.1)
    with (
        running(small_app(tmp_path, calibration=endless)) as url,
        Client(url, add_accounts(tmp_path)["alice"], willing) as client,
        pytest.raises(TooExpensive, match=r"out of time after [0-9]+ hashes, of 8,589,934,592 expected"),
    ):
        client.predict(IMAGES)


def test_a_puzzle_that_a_client_does_not_know(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(protocol, "KINDS", {"hashcash": KINDS["hashcash"]})
        with server.client() as client, pytest.raises(Refused, match="cannot solve 'sha256'") as caught:
            client.predict(IMAGES)
    assert caught.value.reason == "unknown_puzzle"


PUZZLE = {"kind": "sha256", "parts": 1, "options": {}, "challenge": "00", "difficulty": 1.0}


@pytest.mark.parametrize(
    "said",
    [
        "a page",
        [],
        {},
        {"challenge": "token", "puzzle": None},
        {"challenge": "token", "puzzle": PUZZLE | {"challenge": "zz"}},
        {"challenge": "token", "puzzle": PUZZLE | {"difficulty": float("nan")}},
        {"challenge": "token", "puzzle": PUZZLE | {"options": {"none": 1}}},
        {"challenge": "token", "puzzle": PUZZLE | {"kind": ["sha256"]}},
    ],
)
def test_what_no_gate_asks_is_refused(said: Any) -> None:
    talk = protocol.open_account(Willing())
    next(talk)
    with pytest.raises(Refused, match="not what a gate answers"):
        talk.send(httpx.Response(402, content=json.dumps(said)))


@pytest.mark.parametrize("said", [{}, {"account": "a", "key": 1}, {"account": "\x1b]0;a\x07", "key": "tg_"}])
def test_what_no_gate_opens_is_refused(said: Any) -> None:
    """A name or a key is printed; a terminal would obey what is not printable."""
    talk = protocol.open_account(Willing())
    next(talk)
    step = talk.send(httpx.Response(402, json={"challenge": "token", "puzzle": PUZZLE}))
    assert isinstance(step, steps.Solve)
    talk.send(Solution((0,), 1))
    with pytest.raises(Refused, match="not what a gate answers"):
        talk.send(httpx.Response(201, json=said))


def challenge_of(difficulty: float, expires: float, **puzzle: Any) -> httpx.Response:
    said = {"challenge": "token", "puzzle": PUZZLE | {"difficulty": difficulty} | puzzle, "expires": expires}
    return httpx.Response(402, headers={"date": "Wed, 21 Oct 2026 07:28:00 GMT"}, json=said)


def test_a_challenge_that_expires_is_asked_anew() -> None:
    now = parsedate_to_datetime("Wed, 21 Oct 2026 07:28:00 GMT").timestamp()
    talk = protocol.request(IMAGES, Willing())
    attempts = []
    step = next(talk)
    for _ in range(3):
        assert isinstance(step, steps.Call)
        attempts.append(step.attempt)
        solve = talk.send(challenge_of(2.0, now + 30))
        assert isinstance(solve, steps.Solve) and solve.seconds == 28
        try:
            step = talk.send(None)
        except TooExpensive as error:
            assert "expired before this machine had solved them" in str(error)  # noqa: PT017
    assert len({*attempts}) == 3, "each is another attempt"


def test_a_puzzle_is_left_when_its_challenge_expires(server: Server) -> None:
    hard = PuzzleSettings(KINDS["sha256"]).puzzle(b"hard", 1e15)
    assert gate.client._solved(steps.Solve(hard, 0.05), Willing(workers=1)) is None
    with pytest.raises(TooExpensive, match="out of time"):
        gate.client._solved(steps.Solve(hard, 9.0), Willing(workers=1, solve_seconds=0.05))


@pytest.mark.parametrize(
    ("options", "difficulty", "said"),
    [
        ({"memory": 8192, "passes": 1, "lanes": 1}, 2e7, "2e+07 argon2id hashes, at most 1.12e+07"),
        ({"memory": 2**21, "passes": 1, "lanes": 1}, 1.0, "2,097,152 KiB a hash, at most 1,048,576"),
        ({"memory": 2**20, "passes": 100, "lanes": 1}, 1.0, "104,857,600 KiB a hash, at most 1,048,576"),
    ],
)
def test_memory_hard_work_is_counted_as_such(options: dict[str, int], difficulty: float, said: str) -> None:
    talk = protocol.request(IMAGES, Willing())
    next(talk)
    with pytest.raises(TooExpensive) as caught:
        talk.send(challenge_of(difficulty, 2e9, kind="argon2id", options=options))
    assert said in str(caught.value)


def test_a_refusal_commands_no_terminal() -> None:
    talk = protocol.open_account(Willing(retries=0))
    next(talk)
    with pytest.raises(Refused) as caught:
        talk.send(httpx.Response(403, json={"reason": "r", "detail": "\x1b[2Jdone\nmore"}))
    assert caught.value.detail == " [2Jdone more"


def test_a_client_says_what_the_gate_said(server: Server) -> None:
    for url, key, images, reason, status in [
        (server.url, "tg_unknown", IMAGES, "unknown_key", 401),
        (server.url, server.keys["alice"], IMAGES.astype(np.float64), "invalid_images", 422),
        (server.url + "/nowhere", server.keys["alice"], IMAGES, "not_found", 404),
    ]:
        with Client(url, key) as client, pytest.raises(Refused) as caught:
            client.request(images)
        assert (caught.value.reason, caught.value.status) == (reason, status)
