"""The clients get what the model says, wait as they are told, and say why they do not."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import gate.client
import gate.model.asking
from commands import ask
from gate import protocol
from gate.client import AsyncClient, Client, Refused, TooExpensive, Willing, read_image
from gate.ledgers.base import Limits
from pow.puzzles import KINDS, PuzzleSettings, Solution
from support.commands import run_python
from support.gates.over_http import IMAGES, Server, SlowModel, count, serving
from support.gates.server import (
    FEW_HASHES,
    IMAGE_SHAPE,
    add_accounts,
    free_port,
    predict,
    random_images,
    running,
    small_app,
    small_ledger,
)
from support.gates.tls import tls_server


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
    monkeypatch.setattr(gate.model.asking, "BATCHES_WAITING", 1)
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
        assert len(waited) == 3
        assert all(0.5 <= wait / most <= 1 for wait, most in zip(waited, [0.5, 1, 2], strict=True))
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


def wait_after(status: int, **headers: str) -> float:
    talk = protocol.open_account(Willing())
    next(talk)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    wait = talk.send(httpx.Response(status, headers=named, json={"reason": "r", "detail": "d"}))
    assert isinstance(wait, float)
    return wait


@pytest.mark.parametrize("after", ["nan", "-1", "", "soon", "Wed, 99 Oct 2026", "9" * 400])
def test_a_wait_that_is_neither_number_nor_date_is_the_usual_one(after: str) -> None:
    wait = wait_after(429, retry_after=after)
    assert 0.25 <= wait <= 0.5 or (after.isdigit() and wait == 60)


def test_a_wait_may_be_a_date_by_the_gates_clock() -> None:
    date, later = "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:20 GMT"
    assert wait_after(503, retry_after=later, date=date) == 20
    assert wait_after(503, retry_after=date, date=later) == 0, "it is over"
    assert wait_after(503, retry_after="7") == 7


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    assert 0.25 <= wait_after(status) <= 0.5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_what_stays_is_not_tried_again(status: int) -> None:
    with pytest.raises(Refused):
        wait_after(status)


def test_a_query_that_is_sent_again_is_the_same_attempt(server: Server) -> None:
    talk = protocol.request(IMAGES, Willing())
    first = next(talk)
    assert isinstance(first, protocol.Call) and first.attempt
    assert isinstance(talk.send(httpx.ReadError("reset")), float)
    assert talk.send(None) == first
    other = next(protocol.request(IMAGES, Willing()))
    assert isinstance(other, protocol.Call) and other.attempt != first.attempt


class Losing(httpx.HTTPTransport):
    """Loses the reply to each first request of a kind, once the gate has answered it."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.url.path not in self.lost:
            response.read()
            self.lost.append(request.url.path)
            raise httpx.ReadError("the connection was reset", request=request)
        return response


def test_no_lost_reply_is_booked_twice_or_costs_the_answer(
    server: Server, instead_of_waiting: Callable[[Instead], list[float]]
) -> None:
    instead_of_waiting(lambda seconds: None)
    before, solved = server.queries(), count(server, "tollgate_puzzles_solved")
    with server.client() as client:
        client.http._transport = losing = Losing()
        assert np.array_equal(client.request(IMAGES).answer, predict(IMAGES))
    assert losing.lost == ["/v1/predict", "/v1/redeem"]
    assert server.queries() == before + len(IMAGES)
    assert count(server, "tollgate_puzzles_solved") == solved + 1


def test_work_that_was_done_is_kept_and_redeemed_later(
    server: Server, instead_of_waiting: Callable[[Instead], list[float]]
) -> None:
    instead_of_waiting(lambda seconds: None)

    class Deaf(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/v1/redeem":
                raise httpx.ConnectError("gone", request=request)
            return super().handle_request(request)

    with server.client(retries=1) as client:
        client.http._transport = Deaf()
        with pytest.raises(Refused, match="does not answer") as caught:
            client.request(IMAGES)
    assert caught.value.solved is not None
    kept = caught.value.solved
    with server.client() as client:
        for _ in range(2):
            assert np.array_equal(client.redeem(kept), predict(IMAGES))
        with pytest.raises(Refused) as refused:
            client.redeem(replace(kept, token=kept.token + "0"))
    assert refused.value.solved is not None


def test_a_client_that_was_killed_goes_on_and_pays_once(server: Server, tmp_path: Path) -> None:
    """At each step of an exchange: what is asked the same again is booked once, and solved once."""
    before, solved = server.queries(), count(server, "tollgate_puzzles_solved")
    with server.client(keep=tmp_path) as client:
        whole = steps_of(client, 99)
    assert whole == 3 and not [*tmp_path.iterdir()], "what is answered is not kept"
    for steps in range(1, whole):
        with server.client(keep=tmp_path) as client:
            steps_of(client, steps)
        assert len([*tmp_path.iterdir()]) == 1
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
        assert server.keys["alice"] not in next(tmp_path.iterdir()).read_text()
        with server.client(keep=tmp_path) as client:
            receipt = client.request(IMAGES)
        assert np.array_equal(receipt.answer, predict(IMAGES)) and receipt.tried_hashes > 2
        assert not [*tmp_path.iterdir()]
    assert server.queries() == before + whole * len(IMAGES)
    assert count(server, "tollgate_puzzles_solved") == solved + whole


def steps_of(client: Client, most: int) -> int:
    """Carry out so many steps of a request, and be gone; return how many there were."""
    talk = protocol.request(IMAGES, client.willing, client.kept)
    done, step = 0, next(talk)
    while done < most:
        done += 1
        outcome = client._do(step)
        if done == most:
            break
        try:
            step = talk.send(outcome)
        except StopIteration:
            break
    return done


def test_clients_that_are_killed_at_any_moment_lose_nothing(server: Server, tmp_path: Path) -> None:
    """Processes that ask are killed at random moments; the same command in the end gets every answer."""
    images, before, chance = [random_images(2, seed) for seed in range(5)], server.queries(), random.Random(0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([gate.client.__name__, __name__])
    for each in images:
        for _ in range(2):
            process = context.Process(
                target=ask_once, args=(server.url, server.keys["alice"], each, tmp_path)
            )
            process.start()
            process.join(chance.uniform(0, 0.15))
            process.kill()
            process.join()
        with server.client(keep=tmp_path) as client:
            assert np.array_equal(client.request(each).answer, predict(each))
    assert server.queries() == before + 2 * len(images), "nothing is booked twice"
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]


def ask_once(url: str, key: str, images: np.ndarray, folder: Path) -> None:
    with Client(url, key, Willing(workers=1), keep=folder) as client:
        client.request(images)


def test_what_is_refused_for_good_is_not_kept(server: Server, tmp_path: Path) -> None:
    with Client(server.url, "tg_unknown", keep=tmp_path) as client, pytest.raises(Refused):
        client.request(IMAGES)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"attempt": 1, "solved": {"token": 1}}', "\x00"])
def test_a_file_that_holds_no_work_is_as_good_as_none(server: Server, tmp_path: Path, content: str) -> None:
    with server.client(keep=tmp_path) as client:
        steps_of(client, 1)
        (path,) = tmp_path.iterdir()
        path.write_text(content)
        assert np.array_equal(client.request(IMAGES).answer, predict(IMAGES))


def test_work_that_came_too_late_is_done_anew(server: Server, tmp_path: Path) -> None:
    with server.client(keep=tmp_path) as client:
        steps_of(client, 2)
        (path,) = tmp_path.iterdir()
        kept = json.loads(path.read_text())
        path.write_text(json.dumps(kept | {"solved": {"token": "old.old.old", "nonces": [1, 2]}}))
        assert np.array_equal(client.request(IMAGES).answer, predict(IMAGES))


def challenge_of(difficulty: float, expires: float, **puzzle: Any) -> httpx.Response:
    said = {"challenge": "token", "puzzle": PUZZLE | {"difficulty": difficulty} | puzzle, "expires": expires}
    return httpx.Response(402, headers={"date": "Wed, 21 Oct 2026 07:28:00 GMT"}, json=said)


def test_a_challenge_that_expires_is_asked_anew() -> None:
    now = parsedate_to_datetime("Wed, 21 Oct 2026 07:28:00 GMT").timestamp()
    talk = protocol.request(IMAGES, Willing())
    attempts = []
    step = next(talk)
    for _ in range(3):
        assert isinstance(step, protocol.Call)
        attempts.append(step.attempt)
        solve = talk.send(challenge_of(2.0, now + 30))
        assert isinstance(solve, protocol.Solve) and solve.seconds == 28
        try:
            step = talk.send(None)
        except TooExpensive as error:
            assert "expired before this machine had solved them" in str(error)  # noqa: PT017
    assert len({*attempts}) == 3, "each is another attempt"


def test_a_puzzle_is_left_when_its_challenge_expires(server: Server) -> None:
    hard = PuzzleSettings(KINDS["sha256"]).puzzle(b"hard", 1e15)
    assert gate.client._solved(protocol.Solve(hard, 0.05), Willing(workers=1)) is None
    with pytest.raises(TooExpensive, match="out of time"):
        gate.client._solved(protocol.Solve(hard, 9.0), Willing(workers=1, solve_seconds=0.05))


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


def test_a_certificate_that_is_not_trusted_is_said(tmp_path: Path) -> None:
    with tls_server(tmp_path) as (url, certificate):
        with Client(url, "tg_any") as client, pytest.raises(Refused, match="certificate of 127") as caught:
            client.model()
        assert caught.value.reason == "untrusted"
        trusting = Client(url, "tg_any", Willing(retries=0), ca=certificate)
        with trusting as client, pytest.raises(Refused) as refused:
            client.model()
        assert refused.value.reason == "no_gate", "it is trusted, and no gate"


def test_tls_where_there_is_none_is_said(server: Server) -> None:
    refused = pytest.raises(Refused, match=r"does not speak TLS; begin its address with http://")
    with Client(server.url.replace("http://", "https://"), "tg_any") as client, refused:
        client.model()


def test_what_is_no_certificate_or_proxy_is_said(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(ValueError, match=r"none\.pem holds no certificates"):
        Client("https://127.0.0.1:1", "tg_any", ca=tmp_path / "none.pem")
    with pytest.raises(ValueError, match="'there' is not the address of a proxy"):
        Client("http://127.0.0.1:1", "tg_any", proxy="there")


def test_the_environments_proxy_is_not_for_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with server.client() as client:
        assert client.model().classes == 10
    elsewhere = Client("http://gate.example", "tg_any", Willing(retries=0))
    with elsewhere as client, pytest.raises(Refused, match="unreachable"):
        client.model()


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
