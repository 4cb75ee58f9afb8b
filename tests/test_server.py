"""The gate over HTTP: each misuse gets its refusal, and the server serves on."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import logging
import pickle
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from commands import run_python
from gate_server import (
    CLASSES,
    FEW_HASHES,
    IMAGE_SHAPE,
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
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import pow.accounts
import pow.client
import pow.server
from pow.client import AsyncClient, Client, Refused, TooDear, Willing, read_image
from pow.gate import conversation
from pow.gate.images import JSON, NPY, encode
from pow.gate.ledger import Limits
from pow.gate.observe import JsonLines
from pow.puzzles import KINDS, PuzzleSettings, solve

IMAGES = random_images(3)
HTTP = httpx.Client(timeout=60, trust_env=False)
MANY_HASHES = replace(FEW_HASHES, reference_rate=4e6)
"""Some 4,000 for every request, so that no wrong solution is right by chance."""


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

    def client(self, account: str = "alice", **willing: Any) -> Client:
        return Client(self.url, self.keys[account], Willing(**{"workers": 1} | willing))

    def queries(self, account: str = "alice") -> int:
        """How many were booked."""
        with closing(small_ledger(self.folder)) as ledger:
            totals = ledger.totals(account)
        return totals.queries if totals else 0

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
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert ("www-authenticate" in response.headers) == (status == 401)
    return said


def assert_answered(response: httpx.Response, said: dict[str, Any], images: np.ndarray = IMAGES) -> None:
    assert response.status_code == 200, response.text
    answer = response.json()
    assert np.array_equal(np.array(answer["probabilities"], dtype=np.float32), predict(images))
    assert answer["query"] == said["query"]


# Solutions


def test_a_solution_is_redeemed_once(server: Server) -> None:
    said = server.ask()
    nonces = solved(said)
    assert_answered(server.redeem(said["challenge"], nonces), said)
    for _ in range(2):
        assert_refused(server.redeem(said["challenge"], nonces), 409, "spent")


def test_a_solution_serves_one_puzzle_only(server: Server) -> None:
    said, again = server.ask(), server.ask()
    assert said["query"] == again["query"] and said["challenge"] != again["challenge"]
    other_query = server.ask(IMAGES[:1])
    wrong = [solved(again), solved(other_query), solved(said, difficulty=2.0), solved(said, kind="hashcash")]
    wrong.append(solved(said, parts=1) * 2)
    for nonces in wrong:
        assert_refused(server.redeem(said["challenge"], nonces), 403, "wrong_solution")
    assert_answered(server.redeem(said["challenge"], solved(said)), said)
    assert_answered(server.redeem(other_query["challenge"], wrong[1]), other_query, IMAGES[:1])


def test_a_solution_serves_one_account_only(server: Server) -> None:
    said = server.ask()
    nonces = solved(said)
    assert_refused(server.redeem(said["challenge"], nonces, "bob"), 403, "other_account")
    assert_answered(server.redeem(said["challenge"], nonces), said)


def test_no_character_of_a_challenge_can_change(server: Server) -> None:
    said = server.ask()
    token, nonces = said["challenge"], solved(said)
    for position in [*range(0, len(token), 5), len(token) - 1]:
        flipped = token[:position] + chr(ord(token[position]) ^ 1) + token[position + 1 :]
        assert_refused(server.redeem(flipped, nonces), 403, "forged_challenge")
    assert_answered(server.redeem(token, nonces), said)


def test_a_challenge_expires(tmp_path: Path) -> None:
    with serving(tmp_path, lifetime=1.0) as server:
        in_time, said = server.ask(), server.ask()
        assert time.time() < said["expires"] < time.time() + 1.1
        assert_answered(server.redeem(in_time["challenge"], solved(in_time)), in_time)
        time.sleep(max(0.0, said["expires"] - time.time()))
        for known in (said, in_time):
            assert_refused(server.redeem(known["challenge"], solved(known)), 410, "expired")


def test_of_redemptions_at_the_same_instant_one_is_answered(tmp_path: Path) -> None:
    connections, challenges = 8, 125
    with process_of_its_own(tmp_path) as (server, _):
        asked = [server.ask(IMAGES[:1]) for _ in range(challenges)]
        bodies = [json.dumps({"challenge": said["challenge"], "nonces": solved(said)}) for said in asked]
        together = threading.Barrier(connections)
        headers = {"Authorization": f"Bearer {server.keys['alice']}"}

        def redeem_all(_: int) -> list[int]:
            statuses = []
            with closing(http.client.HTTPConnection(server.url.removeprefix("http://"))) as connection:
                for body in bodies:
                    together.wait(30)
                    connection.request("POST", "/v1/redeem", body, headers)
                    response = connection.getresponse()
                    response.read()
                    statuses.append(response.status)
            return statuses

        with ThreadPoolExecutor(connections) as threads:
            by_connection = list(threads.map(redeem_all, range(connections)))
    for statuses in zip(*by_connection, strict=True):
        assert Counter(statuses) == {200: 1, 409: connections - 1}
    assert len({statuses.index(200) for statuses in zip(*by_connection, strict=True)}) > 1


@pytest.mark.parametrize(
    "nonces",
    [
        *(["1", "2"], [1.0, 2.0], [1.5, 2], [True, False], [-1, 2], [2**64, 1], [10**400, 1], [None, 1]),
        *([[1], 2], 1, "12", None, {"0": 1}, [0] * 4097),
    ],
    ids=lambda nonces: str(nonces)[:20],
)
def test_nonces_are_whole_numbers_in_a_list(server: Server, nonces: Any) -> None:
    said = assert_refused(server.redeem("any", nonces), 422, "invalid_solution")
    assert said["detail"].startswith("nonces")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"challenge": "any"}',
        b'{"nonces": []}',
        b'{"challenge": 1, "nonces": []}',
        b'{"challenge": "any", "nonces": [], "more": 1}',
        b'{"challenge": "\\ud800", "nonces": []}',
        b'{"challenge": "\xff", "nonces": []}',
        b'{"challenge": "any", "nonces": ' + b"[" * 50_000,
        json.dumps({"challenge": "a" * 4097, "nonces": []}).encode(),
    ],
    ids=lambda body: str(body[:40]),
)
def test_a_solution_says_what_it_should_and_no_more(server: Server, body: bytes) -> None:
    assert_refused(server.post("/v1/redeem", body), 422, "invalid_solution")


def test_a_solution_has_a_nonce_for_each_part(server: Server) -> None:
    said = server.ask()
    nonces = solved(said)
    for wrong in ([], nonces[:1], [*nonces, 0], nonces[::-1], [0] * 4096):
        assert_refused(server.redeem(said["challenge"], wrong), 403, "wrong_solution")
    assert_refused(server.redeem("any", [2**64 - 1] * 5000), 413, "too_large")
    assert_refused(server.redeem("", nonces), 403, "forged_challenge")
    assert_answered(server.redeem(said["challenge"], nonces), said)


# Queries


class Bomb:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def as_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_pickles_are_refused_and_never_loaded(server: Server, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    bomb = np.full((1, *IMAGE_SHAPE), Bomb(trace), dtype=object)
    for body in (as_npy(bomb), pickle.dumps(Bomb(trace))):
        assert_refused(server.post("/v1/predict", body, kind=NPY), 400, "malformed")
    assert not trace.exists()


def test_what_are_no_images_is_neither_answered_nor_booked(server: Server) -> None:
    nan = IMAGES.copy()
    nan[1, 0, 2, 3] = np.nan
    booked = server.queries()
    for array in (IMAGES.astype(np.float64), IMAGES.astype(np.int64), nan, IMAGES[0], IMAGES * 2):
        assert_refused(server.post("/v1/predict", as_npy(array), kind=NPY), 422, "invalid_images")
    nan_in_json = json.dumps({"images": nan.tolist()})
    assert "NaN" in nan_in_json
    assert_refused(server.post("/v1/predict", nan_in_json), 422, "invalid_images")
    assert_refused(server.post("/v1/predict", "{"), 400, "malformed")
    assert_refused(server.post("/v1/predict", encode(IMAGES), kind="image/png"), 415, "unknown_format")
    assert server.queries() == booked
    server.ask()
    assert server.queries() == booked + len(IMAGES)


def test_json_and_bytes_are_asked_like_npy(server: Server) -> None:
    in_json = server.post("/v1/predict", json.dumps({"images": IMAGES.tolist()}))
    assert in_json.status_code == 402 and in_json.json()["query"] == server.ask()["query"]
    levels = np.arange(64, dtype=np.uint8).reshape(1, *IMAGE_SHAPE)
    said = server.ask(levels)
    assert_answered(
        server.redeem(said["challenge"], solved(said)), said, levels.astype(np.float32) / np.float32(255)
    )


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/redeem"])
def test_a_large_body_is_refused(server: Server, path: str) -> None:
    assert_refused(server.post(path, bytes(200_000)), 413, "too_large")
    assert_refused(server.post(path, iter([bytes(1000)] * 200)), 413, "too_large")


def memory_peak(process_id: int) -> int:
    """The most bytes that a process had in memory."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    (peak,) = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return 1024 * peak


def test_a_huge_body_takes_no_memory(tmp_path: Path) -> None:
    with process_of_its_own(tmp_path) as (server, process):
        server.check_that_it_serves()
        before = memory_peak(process)
        megabyte = bytes(2**20)
        response = server.post("/v1/predict", (megabyte for _ in range(200)), kind=NPY)
        assert_refused(response, 413, "too_large")
        assert memory_peak(process) - before < 20 * 2**20


@contextmanager
def raw_request(
    server: Server, body: bytes, length: int, path: str = "/v1/predict"
) -> Iterator[socket.socket]:
    """A connection on which a body was begun, of which `length` bytes were announced."""
    port = int(server.url.rpartition(":")[2])
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {server.keys['alice']}\r\n"
        f"Content-Type: {NPY}\r\nContent-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        yield connection


def received(connection: socket.socket) -> tuple[int, dict[str, Any], bool]:
    """Status and body of the response, and whether the server closed the connection after it."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    said = json.loads(response.read())
    closed = response.getheader("Connection") == "close" and connection.recv(1) == b""
    return response.status, said, closed


def test_a_slow_body_is_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pow.server, "BODY_SECONDS", 0.3)
    body = encode(IMAGES)
    for path in ("/v1/predict", "/v1/redeem"):
        with raw_request(server, body[:100], len(body), path) as connection:
            started = time.perf_counter()
            status, said, closed = received(connection)
            assert (status, said["reason"], closed) == (408, "slow_body", True)
            assert 0.2 < time.perf_counter() - started < 10
    with raw_request(server, bytes(200_000), 300_000) as connection:
        status, said, closed = received(connection)
        assert (status, said["reason"], closed) == (413, "too_large", True)


def test_a_body_that_breaks_off_is_not_booked(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    booked = server.queries()
    with caplog.at_level(logging.INFO, "tollgate"):
        with raw_request(server, encode(IMAGES)[:100], len(encode(IMAGES))):
            pass
        wait_until(lambda: "request" in caplog.messages)
    assert server.queries() == booked
    assert [record.levelname for record in caplog.records] == ["INFO"]


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class SlowModel:
    """The small model; its calls wait until they may go on."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.asked.set()
        assert self.go.wait(20)
        return predict(images)


def test_a_client_that_leaves_while_it_waits_has_paid(tmp_path: Path) -> None:
    model = SlowModel()
    with serving(tmp_path, predict=model) as server:
        with raw_request(server, encode(IMAGES), len(encode(IMAGES))):
            assert model.asked.wait(20)
        model.go.set()
        wait_until(lambda: server.queries() == len(IMAGES))


# Accounts and limits


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/redeem"])
@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "no_key"),
        ("", "no_key"),
        ("Bearer", "no_key"),
        ("Basic YWxpY2U6", "no_key"),
        ("Bearer tg_unknown", "unknown_key"),
        ("Bearer \xff\xfe", "unknown_key"),
        ("Bearer " + "a" * 10_000, "unknown_key"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_without_a_known_key_nothing_is_done(
    server: Server, path: str, header: str | None, reason: str
) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin1")}
    response = HTTP.post(server.url + path, content=b"{}", headers=headers)  # type: ignore[arg-type]
    assert_refused(response, 401, reason)


def test_a_key_is_taken_in_its_own_spelling_only(server: Server) -> None:
    key = server.keys["alice"]
    for wrong in (key[:-1], key + "A", key.upper(), key.removeprefix("tg_")):
        changed = replace(server, keys={"alice": wrong})
        assert_refused(changed.post("/v1/predict", encode(IMAGES), kind=NPY), 401, "unknown_key")
    spaced = server.post("/v1/predict", encode(IMAGES), "", NPY, {"Authorization": f"bearer  {key}"})
    assert spaced.status_code == 402


def test_open_challenges_are_limited_for_each_account(tmp_path: Path) -> None:
    with serving(tmp_path, limits=Limits(pending=20, requests_a_minute=10**6)) as server:
        asked = [server.ask(IMAGES[:1]) for _ in range(20)]
        for _ in range(3):
            response = server.post("/v1/predict", encode(IMAGES), kind=NPY)
            said = assert_refused(response, 429, "too_many_pending")
            assert said["detail"].startswith("20 challenges may be open")
            assert 0 < int(response.headers["retry-after"]) <= 301
        assert server.queries() == 20
        server.ask(account="bob")
        assert_answered(server.redeem(asked[0]["challenge"], solved(asked[0])), asked[0], IMAGES[:1])
        server.ask(IMAGES[:1])
        response = server.post("/v1/predict", encode(IMAGES), kind=NPY)
        assert_refused(response, 429, "too_many_pending")


def test_requests_a_minute_are_limited_for_each_account(tmp_path: Path) -> None:
    with serving(tmp_path, limits=Limits(pending=10**6, requests_a_minute=5)) as server:
        responses = [server.post("/v1/predict", encode(IMAGES), kind=NPY) for _ in range(11)]
        statuses = Counter(response.status_code for response in responses)
        assert statuses in ({402: 5, 429: 6}, {402: 10, 429: 1})  # a minute may begin meanwhile
        response = next(response for response in responses if response.status_code == 429)
        assert "5 requests a minute" in assert_refused(response, 429, "too_many_requests")["detail"]
        assert 0 < int(response.headers["retry-after"]) <= 60
        assert server.queries() == 3 * statuses[402]
        server.ask(account="bob")


# The model


def test_a_model_that_fails_leaks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Any] = [
        RuntimeError("the secret of the model"),
        np.zeros((3, CLASSES + 1)),
        np.full((3, CLASSES), np.nan),
    ]

    def failing(images: np.ndarray) -> np.ndarray:
        answer = answers.pop(0) if answers else predict(images)
        if isinstance(answer, Exception):
            raise answer
        return np.asarray(answer)

    with serving(tmp_path, predict=failing) as server:
        for _ in range(3):
            response = server.post("/v1/predict", encode(IMAGES), kind=NPY)
            said = assert_refused(response, 500, "failure")
            assert said["detail"] == "something went wrong here; it is logged"
        assert not answers and server.queries() == 0
        assert count(server, "tollgate_requests", endpoint="/v1/predict", status="500") == 3
        assert count(server, "tollgate_refusals", reason="failure") == 3
    logged = [record for record in caplog.records if record.name == "tollgate.gate" and record.exc_info]
    assert "the secret of the model" in JsonLines().format(logged[0])


# What it tells about itself


def count(server: Server, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(server.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return sum(each.value for each in samples if each.name == name + "_total" and each.labels == labels)


def test_counts(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        said = server.ask()
        server.redeem(said["challenge"], solved(said))
        server.redeem(said["challenge"], solved(said))
        server.ask(IMAGES[:1], "bob")
        server.post("/v1/predict", b"", account="")
        server.get("/nowhere")
        response = server.get("/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        predicted = {"endpoint": "/v1/predict"}
        assert count(server, "tollgate_requests", **predicted, status="402") == 2
        assert count(server, "tollgate_requests", **predicted, status="401") == 1
        assert count(server, "tollgate_requests", endpoint="/v1/redeem", status="200") == 1
        assert count(server, "tollgate_requests", endpoint="/v1/redeem", status="409") == 1
        assert count(server, "tollgate_requests", endpoint="none", status="404") == 1
        assert count(server, "tollgate_refusals", reason="spent") == 1
        assert count(server, "tollgate_refusals", reason="no_key") == 1
        assert count(server, "tollgate_queries") == 4
        assert count(server, "tollgate_puzzles_issued") == 2
        assert count(server, "tollgate_puzzles_solved") == 1
        assert count(server, "tollgate_work_asked_seconds") == pytest.approx(2 * 0.001)
        assert "tollgate_inference_seconds_count 2.0" in response.text
        assert "alice" not in response.text and "bob" not in response.text


def test_health_is_that_of_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as server:
        response = server.get("/healthz")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})

        def broken(*arguments: object) -> None:
            raise OSError("/secret/ledger.sqlite is gone")

        with monkeypatch.context() as patch:
            patch.setattr("pow.gate.sqlite_ledger.SqliteLedger.find_account", broken)
            assert "secret" not in str(assert_refused(server.get("/healthz"), 503, "busy"))


def test_the_model_is_told(server: Server) -> None:
    assert server.get("/v1/model").json() == {
        "image_shape": [1, 8, 8],
        "classes": 10,
        "answers": "soft",
        "largest_batch": 4,
        "puzzle": "sha256",
        "parts": 2,
    }


def test_unknown_addresses_are_refused(server: Server) -> None:
    assert_refused(server.get("/nowhere"), 404, "not_found")
    assert_refused(server.get("/page/../../server.py"), 404, "not_found")
    assert_refused(server.get("/v1/predict"), 405, "method_not_allowed")
    assert server.get("/v1/predict").headers["allow"] == "POST"
    assert server.get("/").headers["content-type"].startswith("text/html")


def test_the_log_has_a_line_for_each_request_without_what_it_holds(tmp_path: Path) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("tollgate")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with serving(tmp_path) as server:
            pixels = np.full((1, *IMAGE_SHAPE), 0.123456789, dtype=np.float64).tolist()
            said = server.post("/v1/predict", json.dumps({"images": pixels})).json()
            nonces = [*solved(said)]
            server.redeem(said["challenge"], nonces)
            server.redeem(said["challenge"], [0.123456789])
            server.post("/v1/predict", b"0.123456789")
            server.post("/v1/predict", b"", "", headers={"Authorization": "Bearer tg_0.123456789"})
            keys = server.keys
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()][:5]
    assert [(line["endpoint"], line["status"], line.get("reason")) for line in lines] == [
        ("/v1/predict", 402, None),
        ("/v1/redeem", 200, None),
        ("/v1/redeem", 422, "invalid_solution"),
        ("/v1/predict", 400, "malformed"),
        ("/v1/predict", 401, "unknown_key"),
    ]
    assert [line.get("account") for line in lines] == ["alice"] * 4 + [None]
    for line in lines:
        assert line["level"] == "info" and line["message"] == "request"
        assert 0 <= line["seconds"] < 20 and abs(line["time"] - time.time()) < 60
    secrets = ["0.1234", "tg_", said["challenge"][:20], said["query"], *keys.values(), *map(str, nonces)]
    assert not [secret for secret in secrets if secret in stream.getvalue()]


EXPECTED_STATUSES = """
[[operations]]
include-path = "/v1/predict"
# 402 is the answer that is documented; no schema can say of a text that it is an npy file.
checks.positive_data_acceptance.expected-statuses = [402, 400]

[[operations]]
include-path = "/v1/redeem"
# No schema can forbid to write 1 as 1.0, which is no nonce; nobody's challenge is a guess.
checks.positive_data_acceptance.expected-statuses = [403, 422]
"""


def test_the_openapi_document_is_true(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(EXPECTED_STATUSES)
    with serving(tmp_path / "gate") as server:
        document = server.get("/openapi.json").json()
        assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
        secured = {path: "security" in next(iter(said.values())) for path, said in document["paths"].items()}
        assert [path for path in secured if secured[path]] == ["/v1/predict", "/v1/redeem"]
        program = "from schemathesis.cli import schemathesis; schemathesis()"
        arguments = ["run", f"{server.url}/openapi.json", "--seed", "1", "--max-examples", "15"]
        key = f"Authorization: Bearer {server.keys['alice']}"
        found = run_python("-c", program, *arguments, "--header", key, "--no-color", folder=tmp_path)
        assert found.returncode == 0, found.stdout + found.stderr
        assert "5 selected / 5 total" in found.stdout
        assert server.queries() > 0


# The client


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
        assert receipt.asked_seconds == 0.001 and receipt.expected_hashes == pytest.approx(4000)
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
        monkeypatch.setattr(pow.client, "time", clock)
        loop = SimpleNamespace(sleep=sleep_there, to_thread=asyncio.to_thread)
        monkeypatch.setattr(pow.client, "asyncio", loop)
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
    monkeypatch.setattr(pow.server, "BATCHES_WAITING", 1)
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
        patch.setattr(pow.client, "solve", lambda *arguments, **options: pytest.fail("it worked"))
        with server.client(max_hashes=3999.0) as client, pytest.raises(TooDear, match=r"4e\+03 hashes"):
            client.predict(IMAGES)
    with server.client(max_hashes=4001.0) as client:
        assert np.array_equal(client.predict(IMAGES), predict(IMAGES))


def test_work_ends_when_the_time_is_up(tmp_path: Path) -> None:
    endless = replace(FEW_HASHES, reference_rate=1e13)
    willing = Willing(workers=1, solve_seconds=0.1)
    with (
        running(small_app(tmp_path, calibration=endless)) as url,
        Client(url, add_accounts(tmp_path)["alice"], willing) as client,
        pytest.raises(TooDear, match=r"out of time after [0-9]+ hashes, of 10,000,000,000 expected"),
    ):
        client.predict(IMAGES)


def test_a_puzzle_that_a_client_does_not_know(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(conversation, "KINDS", {"hashcash": KINDS["hashcash"]})
        with server.client() as client, pytest.raises(Refused, match="cannot solve 'sha256'") as caught:
            client.predict(IMAGES)
    assert caught.value.reason == "unknown_puzzle"


def test_a_client_says_what_the_gate_said(server: Server) -> None:
    for url, key, images, reason, status in [
        (server.url, "tg_unknown", IMAGES, "unknown_key", 401),
        (server.url, server.keys["alice"], IMAGES.astype(np.float64), "invalid_images", 422),
        (server.url + "/nowhere", server.keys["alice"], IMAGES, "not_found", 404),
    ]:
        with Client(url, key) as client, pytest.raises(Refused) as caught:
            client.request(images)
        assert (caught.value.reason, caught.value.status) == (reason, status)


# The commands


def test_a_picture_is_answered_on_the_command_line(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(path)
    with server.client() as client:
        probabilities = client.predict(read_image(path, IMAGE_SHAPE))[0]
    command = ("-m", "pow.client", server.url, str(path))
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
        (["--key", "alice's", "--max-hashes", "10"], "TooDear: the gate asks for 4e"),
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
    monkeypatch.setattr("sys.argv", ["client", server.url, str(path), *given])
    with pytest.raises(SystemExit) as caught:
        pow.client.main()
    assert caught.value.code not in (0, None)
    assert said in f"{caught.value.code} {capsys.readouterr().err}"


def accounts(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["accounts", *map(str, arguments)])
    pow.accounts.main()


def test_accounts_come_and_go_while_the_gate_serves(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = server.folder / "ledger.sqlite"
    accounts(monkeypatch, "add", "carol", "--ledger", ledger)
    key = capsys.readouterr().out.strip()
    known = replace(server, keys={"carol": key})
    known.ask(account="carol")
    for name in ("carol", "no name"):
        with pytest.raises(SystemExit, match="error: "):
            accounts(monkeypatch, "add", name, "--ledger", ledger)
    accounts(monkeypatch, "remove", "carol", "--ledger", ledger)
    assert_refused(known.post("/v1/predict", encode(IMAGES), "carol", NPY), 401, "unknown_key")
    with pytest.raises(SystemExit, match="there is no account 'carol'"):
        accounts(monkeypatch, "remove", "carol", "--ledger", ledger)
    assert server.queries("carol") == 3, "what it revealed stays on record"


def test_challenges_outlive_a_restart_and_as_many_keys_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = add_accounts(tmp_path)

    @contextmanager
    def restarted() -> Iterator[Server]:
        with running(small_app(tmp_path)) as url:
            yield Server(url, keys, tmp_path)

    with restarted() as server:
        asked = [server.ask(IMAGES[:1]) for _ in range(3)]
    for said, keep, valid in [(asked[0], None, True), (asked[1], 1, True), (asked[2], 0, False)]:
        if keep is not None:
            accounts(monkeypatch, "rotate-keys", "--keys", tmp_path / "keys", "--keep", keep)
        with restarted() as server:
            response = server.redeem(said["challenge"], solved(said))
            if valid:
                assert_answered(response, said, IMAGES[:1])
            else:
                assert_refused(response, 403, "forged_challenge")
            server.check_that_it_serves()
