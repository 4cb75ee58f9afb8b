"""Clients wait as they are told, come back under passing trouble, and pay once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import gate.client
import gate.model.asking
from gate import protocol, steps
from gate.client import AsyncClient, Model, Receipt, Refused, Willing, sentences
from gate.ledgers.base import Limits
from support.gates.over_http import IMAGES, Instead, Server, SlowModel, count, serving
from support.gates.server import (
    add_accounts,
    free_port,
    predict,
    running,
    small_app,
    small_ledger,
)


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
    assert 0.25 <= wait_after(503, retry_after=date, date=later) <= 0.5, "it is over"
    assert 0.25 <= wait_after(503, retry_after="0") <= 0.5
    assert wait_after(503, retry_after="7") == 7


def test_a_request_that_is_being_answered_is_waited_for_beside_the_retries() -> None:
    talk, waits = protocol.describe(Willing(retries=1)), list[float]()
    problem = {"reason": "in_progress", "detail": "the same request is being answered"}
    progress = httpx.Response(409, headers={"Retry-After": "1"}, json=problem)

    def wait() -> None:
        for step in iter(lambda: talk.send(progress), None):
            assert isinstance(step, float)
            waits.append(step)
            next(talk)

    next(talk)
    with pytest.raises(Refused, match="is being answered"):
        wait()
    assert 190 < sum(waits) < 330 and max(waits) <= 60


@pytest.mark.parametrize("batch", [0, "x", True, None])
def test_a_gate_that_serves_no_images_is_none(batch: object) -> None:
    talk = protocol.describe(Willing())
    next(talk)
    model = {"image_shape": [1, 8, 8], "classes": 10, "answers": "soft", "largest_batch": batch}
    with pytest.raises(Refused) as caught:
        talk.send(httpx.Response(200, json=model))
    assert caught.value.reason == "no_gate"


def described(class_names: list[Any]) -> Model:
    """What a client makes of what a gate tells of its classes."""
    talk = protocol.describe(Willing())
    next(talk)
    model = {"image_shape": [1, 8, 8], "classes": 2, "answers": "soft", "largest_batch": 1}
    with pytest.raises(StopIteration) as ended:
        talk.send(httpx.Response(200, json=model | {"class_names": class_names}))
    made: Model = ended.value.value
    return made


def test_classes_have_names_or_numbers() -> None:
    receipt = Receipt(np.array([[0.25, 0.75]]), 1.0, 1, 0.5)
    named = described(["cat", "hedgehog"])
    assert sentences(receipt, named)[:2] == ["hedgehog   75.00 %", "cat        25.00 %"]
    assert sentences(receipt, described([]))[0] == "class 1   75.00 %"
    hard = Receipt(np.array([1]), 1.0, 1, 0.5)
    assert sentences(hard, named)[0] == "hedgehog"


@pytest.mark.parametrize("names", [["cat"], ["cat", "a\x1b[2J"], ["cat", 5]])
def test_names_that_a_terminal_should_not_show_are_refused(names: list[Any]) -> None:
    with pytest.raises(Refused) as caught:
        described(names)
    assert caught.value.reason == "no_gate"


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
    assert isinstance(first, steps.Call) and first.attempt
    assert isinstance(talk.send(httpx.ReadError("reset")), float)
    assert talk.send(None) == first
    other = next(protocol.request(IMAGES, Willing()))
    assert isinstance(other, steps.Call) and other.attempt != first.attempt


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
