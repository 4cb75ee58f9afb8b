"""Queries over HTTP: what is no query, too large, too slow or broken off is neither answered nor booked."""

from __future__ import annotations

import http.client
import io
import json
import logging
import pickle
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gate.http.bodies
from gate.protocol import encode
from gate.steps import NPY
from support.gates.bomb import Bomb
from support.gates.over_http import (
    IMAGES,
    Server,
    SlowModel,
    assert_answered,
    assert_refused,
    process_of_its_own,
    serving,
    solved,
)
from support.gates.server import IMAGE_SHAPE


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
    monkeypatch.setattr(gate.http.bodies, "BODY_SECONDS", 0.3)
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


def test_a_client_that_leaves_while_it_waits_has_paid(tmp_path: Path) -> None:
    model = SlowModel()
    with serving(tmp_path, predict=model) as server:
        with raw_request(server, encode(IMAGES), len(encode(IMAGES))):
            assert model.asked.wait(20)
        model.go.set()
        wait_until(lambda: server.queries() == len(IMAGES))
