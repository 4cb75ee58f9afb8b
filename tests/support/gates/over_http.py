"""The small gate over HTTP: asking it, redeeming, and what its refusals must look like."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import gate.client
from gate.client import Client, Willing
from gate.protocol import encode
from gate.steps import JSON, NPY
from pow.puzzles import KINDS, PuzzleSettings, solve
from pow.tariff import Standing
from support.gates.server import (
    FEW_HASHES,
    add_accounts,
    free_port,
    predict,
    process_serving,
    random_images,
    running,
    small_app,
    small_ledger,
    wait_for,
)

IMAGES = random_images(3)
HTTP = httpx.Client(timeout=60, trust_env=False)

MANY_HASHES = replace(FEW_HASHES, reference_rate=4.096e6)
"""4,096 for every request, so that no wrong solution is right by chance."""


@dataclass(frozen=True)
class Server:
    """A running server, and the keys of its accounts."""

    url: str
    keys: dict[str, str]
    folder: Path

    def post(
        self,
        path: str,
        content: Any,
        account: str = "alice",
        kind: str = JSON,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        key = {"Authorization": f"Bearer {self.keys[account]}"} if account else {}
        sent = {"Content-Type": kind} | key | (headers or {})
        return HTTP.post(self.url + path, content=content, headers=sent)

    def get(self, path: str) -> httpx.Response:
        return HTTP.get(self.url + path)

    def ask(self, images: np.ndarray = IMAGES, account: str = "alice") -> dict[str, Any]:
        """What must be done for these images' answers."""
        response = self.post("/v1/predict", encode(images), account, NPY)
        assert response.status_code == 402, response.text
        assert response.headers["content-type"] == "application/problem+json"
        said: dict[str, Any] = response.json()
        return said

    def redeem(self, challenge: str, nonces: Any, account: str = "alice") -> httpx.Response:
        return self.post("/v1/redeem", json.dumps({"challenge": challenge, "nonces": nonces}), account)

    def client(self, account: str = "alice", keep: Path | None = None, **willing: Any) -> Client:
        return Client(self.url, self.keys[account], Willing(**{"workers": 1} | willing), keep=keep)

    def queries(self, account: str = "alice") -> int:
        """How many were booked."""
        with closing(small_ledger(self.folder)) as ledger:
            numbers = ledger.standings().get(account)
        return 0 if numbers is None else int(Standing.of(numbers).queries)

    def check_that_it_serves(self) -> None:
        with self.client("bob") as client:
            assert np.array_equal(client.predict(IMAGES), predict(IMAGES))


@contextmanager
def serving(folder: Path, **changes: Any) -> Iterator[Server]:
    """A server of a new ledger; it must serve afterwards."""
    folder.mkdir(exist_ok=True)
    keys = add_accounts(folder)
    with running(small_app(folder, **changes)) as url:
        server = Server(url, keys, folder)
        yield server
        server.check_that_it_serves()


@contextmanager
def process_of_its_own(folder: Path) -> Iterator[tuple[Server, int]]:
    """The same in another process, with that process' number."""
    keys, port = add_accounts(folder), free_port()
    with process_serving(partial(small_app, folder), port) as process:
        wait_for(port)
        server = Server(f"http://127.0.0.1:{port}", keys, folder)
        assert process.pid is not None
        yield server, process.pid
        server.check_that_it_serves()


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("gate"), calibration=MANY_HASHES) as server:
        yield server


@pytest.fixture
def server(one_server: Server) -> Iterator[Server]:
    """A server that asks for some 4,000 hashes, and serves on after the test."""
    yield one_server
    one_server.check_that_it_serves()


def puzzle_of(said: dict[str, Any], **changes: Any) -> Any:
    asked = said["puzzle"] | changes
    settings = PuzzleSettings(KINDS[asked["kind"]], asked["parts"], asked["options"])
    return settings.puzzle(bytes.fromhex(asked["challenge"]), asked["difficulty"])


def solved(said: dict[str, Any], **changes: Any) -> list[int]:
    """Nonces for what was asked, or for a puzzle that differs from it."""
    return list(solve(puzzle_of(said, **changes), workers=1).nonces)


def assert_refused(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = response.json()
    assert set(said) == {"type", "title", "status", "detail", "reason"}
    assert (said["status"], said["reason"], said["type"]) == (status, reason, f"urn:tollgate:{reason}")
    assert said["detail"] and said["title"]
    assert ("retry-after" in response.headers) == (status in (429, 503) or reason == "in_progress")
    assert ("www-authenticate" in response.headers) == (status == 401)
    return said


def assert_answered(response: httpx.Response, said: dict[str, Any], images: np.ndarray = IMAGES) -> None:
    assert response.status_code == 200, response.text
    answer = response.json()
    assert np.array_equal(np.array(answer["probabilities"], dtype=np.float32), predict(images))
    assert answer["query"] == said["query"]


def count(server: Server, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(server.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return sum(each.value for each in samples if each.name == name + "_total" and each.labels == labels)


class SlowModel:
    """The small model; its calls wait until they may go on."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.asked.set()
        assert self.go.wait(20)
        return predict(images)


Instead = Callable[[float], object]
"""What a client does in place of waiting so many seconds."""


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
