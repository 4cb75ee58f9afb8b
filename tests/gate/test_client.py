"""The clients get what the model says, wait as they are told, and say why they do not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import gate.client
import gate.http.answering
from commands import ask
from gate import protocol
from gate.client import AsyncClient, Client, Refused, TooExpensive, Willing, read_image
from gate.ledgers.base import Limits
from pow.puzzles import KINDS, Solution
from support.commands import run_python
from support.gates.over_http import IMAGES, Server, SlowModel, count, serving
from support.gates.server import (
    FEW_HASHES,
    IMAGE_SHAPE,
    add_accounts,
    free_port,
    predict,
    running,
    small_app,
    small_ledger,
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


Instead = Callable[[float], object]


@pytest.fixture
def instead_of_waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Instead], list[float]]:
    """What clients do from now on instead of waiting; the seconds that they would have waited."""

    def replace_sleep(instead: Instead) -> list[float]:
        waited: list[float] = []

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            instead(seconds)

        async def sleep_there(seconds: float) -> None:
            sleep(seconds)

        clock = SimpleNamespace(sleep=sleep)
        monkeypatch.setattr(gate.client, "time", clock)
        loop = SimpleNamespace(sleep=sleep_there, to_thread=asyncio.to_thread)
        monkeypatch.setattr(gate.client, "asyncio", loop)
        return waited

    return replace_sleep


async def predicted_there(server: Server) -> np.ndarray:
    """The answers that an asynchronous client gets."""
    async with AsyncClient(server.url, server.keys["alice"], Willing(workers=1)) as client:
        return await client.predict(IMAGES)


def test_a_client_waits_as_long_as_it_is_told(
    tmp_path: Path, instead_of_waiting: Callable[[Instead], list[float]]
) -> None:
    limits = Limits(pending=1, requests_a_minute=10**6)
    with serving(tmp_path, limits=limits, lifetime=20.0) as server, closing(small_ledger(tmp_path)) as ledger:
        waited = instead_of_waiting(lambda seconds: ledger.sweep(time.time() + seconds + 1))
        server.ask()
        with server.client() as client:
            assert np.array_equal(client.predict(IMAGES), predict(IMAGES))
        server.ask()
        assert np.array_equal(asyncio.run(predicted_there(server)), predict(IMAGES))
        assert len(waited) == 2 and all(15 < seconds <= 21 for seconds in waited)
        server.ask()
        waited = instead_of_waiting(lambda seconds: None)
        with server.client(retries=3) as client, pytest.raises(Refused, match="too many pending") as caught:
            client.predict(IMAGES)
        assert (caught.value.reason, caught.value.status) == ("too_many_pending", 429)
        assert len(waited) == 3


def test_a_client_comes_back_to_a_busy_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead_of_waiting: Callable[[Instead], list[float]]
) -> None:
    monkeypatch.setattr(gate.http.answering, "BATCHES_WAITING", 1)
    model = SlowModel()
    with serving(tmp_path, predict=model) as server, ThreadPoolExecutor(3) as threads:
        waited = instead_of_waiting(lambda seconds: model.go.set())

        def predicted() -> np.ndarray:
            with server.client() as client:
                return client.predict(IMAGES)

        answers = [threads.submit(predicted)]
        assert model.asked.wait(20)
        # Of two more, one waits for the model, and the other finds no room for three images.
        answers += [threads.submit(predicted) for _ in range(2)]
        assert all(np.array_equal(answer.result(), predict(IMAGES)) for answer in answers)
        assert waited[0] == 1
        assert count(server, "tollgate_refusals", reason="busy") == len(waited)


def test_a_client_waits_for_a_gate_that_starts(
    tmp_path: Path, instead_of_waiting: Callable[[Instead], list[float]]
) -> None:
    server = Server(f"http://127.0.0.1:{free_port()}", add_accounts(tmp_path), tmp_path)
    with ExitStack() as stack:

        def start(seconds: float) -> None:
            if len(waited) == 3:
                stack.enter_context(running(small_app(tmp_path), int(server.url.rpartition(":")[2])))

        waited = instead_of_waiting(start)
        with server.client() as client:
            assert np.array_equal(client.predict(IMAGES), predict(IMAGES))
        assert waited == [0.5, 1, 2]
    with server.client(retries=1) as client, pytest.raises(Refused) as caught:
        client.predict(IMAGES)
    assert (caught.value.reason, caught.value.status) == ("unreachable", 0)
    assert np.isfinite(waited).all() and len(waited) == 4


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
    assert isinstance(step, protocol.Solve)
    talk.send(Solution((0,), 1))
    with pytest.raises(Refused, match="not what a gate answers"):
        talk.send(httpx.Response(201, json=said))


@pytest.mark.parametrize("after", ["Wed, 21 Oct 2026 07:28:00 GMT", "nan", "-1", ""])
def test_a_wait_that_is_no_number_is_a_second(after: str) -> None:
    talk = protocol.open_account(Willing())
    next(talk)
    refusal = httpx.Response(429, headers={"retry-after": after}, json={"reason": "r", "detail": "d"})
    assert talk.send(refusal) == 1


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


# The command


def test_a_picture_is_answered_on_the_command_line(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(path)
    with server.client() as client:
        probabilities = client.predict(read_image(path, IMAGE_SHAPE))[0]
    command = ("-m", "commands", "ask", server.url, str(path))
    said = run_python(*command, TOLLGATE_KEY=server.keys["alice"])
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    best = np.argsort(-probabilities)[:5]
    assert lines[:5] == [f"class {label}  {100 * probabilities[label]:6.2f} %" for label in best]
    assert lines[5].startswith("paid with ") and len(lines) == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "an API key is needed"),
        (["--key", "tg_unknown"], "Refused: unknown key"),
        (["--key", "alice's", "--max-hashes", "10"], "TooExpensive: the gate asks for 4.1e"),
    ],
)
def test_the_command_line_says_what_went_wrong(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (20, 30)).save(path)
    monkeypatch.delenv("TOLLGATE_KEY", raising=False)
    given = [server.keys["alice"] if argument == "alice's" else argument for argument in arguments]
    try:
        code = ask.main([server.url, str(path), *given])
    except SystemExit as ended:  # as argparse ends
        code = int(ended.code or 0)
    assert code != 0
    assert said in capsys.readouterr().err
