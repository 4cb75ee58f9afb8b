"""Strangers, and clients that send nothing, keep nobody out."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import uvicorn

import gate.http.bodies
from gate.app import Hosting
from gate.http.connections import Connections
from gate.http.endpoints import BODIES_EACH
from gate.http.strangers import Strangers, network_of
from gate.problems import Problem
from gate.protocol import encode
from gate.steps import NPY
from support.gates import server as small
from support.gates.over_http import HTTP, IMAGES, Server, assert_refused, serving
from support.gates.server import add_accounts, running, small_app


@contextmanager
def with_connections(
    folder: Path, monkeypatch: pytest.MonkeyPatch, connections: Connections, **more: object
) -> Iterator[Server]:
    """A server with these connections."""

    def make_server(app: object) -> uvicorn.Server:
        settings = uvicorn.Config(app, http=connections, ws="none", log_config=None, access_log=False, **more)  # type: ignore[arg-type]
        return uvicorn.Server(settings)

    monkeypatch.setattr(small, "make_server", make_server)
    keys = add_accounts(folder)
    with running(small_app(folder)) as url:
        yield Server(url, keys, folder)


def opened(server: Server, sent: bytes = b"") -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("sent", [b"", b"POST /v1/predict HTTP/1.1\r\nHost: gate\r\nX-Header: "])
def test_silent_strangers_take_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    with (
        with_connections(tmp_path, monkeypatch, Connections(most=20, an_address=20)) as server,
        ExitStack() as stack,
    ):
        strangers = [stack.enter_context(closing(opened(server, sent))) for _ in range(60)]
        for _ in range(3):
            server.ask()
        assert is_closed(strangers[0]), "the one that was silent longest has made place"
        strangers[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            strangers[-1].recv(1)


def test_an_address_takes_no_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(most=20, an_address=5)
    with with_connections(tmp_path, monkeypatch, connections) as server, ExitStack() as stack:
        strangers = [stack.enter_context(closing(opened(server))) for _ in range(10)]
        server.ask()
        assert connections.by_address["127.0.0.1"] <= 5
        assert all(is_closed(each) for each in strangers[:5])


def unread(server: Server) -> socket.socket:
    """A connection that asks for much and reads nothing of it."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.settimeout(0.5)
    with suppress(TimeoutError, ConnectionError):
        connection.sendall(400 * b"GET /page/gate.js HTTP/1.1\r\nHost: gate\r\n\r\n")
    return connection


def until(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_does_not_read_takes_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(most=8, an_address=8, idle_seconds=60)
    with with_connections(tmp_path, monkeypatch, connections) as server, ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(closing(unread(server)))
        until(lambda: len(connections.idle) == 8)
        for _ in range(3):
            server.ask()


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/redeem"])
def test_half_a_body_takes_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    connections = Connections(most=8, an_address=8, idle_seconds=60)
    with with_connections(tmp_path, monkeypatch, connections) as server, ExitStack() as stack:
        head = f"POST {path} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {server.keys['alice']}\r\n"
        sent = f"{head}Content-Type: {NPY}\r\nContent-Length: 100\r\n\r\nhalf".encode()
        for _ in range(8):
            stack.enter_context(closing(opened(server, sent)))
        until(lambda: len(connections.idle) == 8)
        for _ in range(3):
            server.ask()


def test_who_does_not_read_is_closed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(most=8, an_address=8, idle_seconds=0.3)
    with with_connections(tmp_path, monkeypatch, connections) as server, closing(unread(server)):
        until(lambda: connections.by_address.total() == 1)
        until(lambda: not connections.by_address.total())


@pytest.mark.parametrize(
    ("shown", "path"),
    [
        *(
            ("Basic x", "/v1/predict"),
            ("", "/v1/model"),
            ("Bearer", "/v1/redeem"),
            ("Bearer x", "/v1/predict"),
            ("Bearer \xa0", "/v1/predict"),
        ),
        *(("Bearer x", "/v1/model"), ("Bearer x", "/"), ("Bearer x", "/healthz"), ("Basic x", "/nowhere")),
    ],
)
def test_a_key_that_nobody_looks_up_is_none(tmp_path: Path, shown: str, path: str) -> None:
    with serving(tmp_path, hosting=Hosting(strangers_a_minute=3)) as server:

        def asked() -> httpx.Response:
            method = "POST" if path in ("/v1/predict", "/v1/redeem") else "GET"
            return HTTP.request(
                method, server.url + path, headers={b"Authorization": shown.encode("latin-1")}
            )

        assert all(asked().status_code != 429 for _ in range(3))
        assert_refused(asked(), 429, "too_many_requests")
        server.ask()


def test_a_small_body_waits_for_no_slow_ones(tmp_path: Path) -> None:
    with serving(tmp_path) as server, ExitStack() as stack:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {server.keys['alice']}\r\n"
        sent = f"{head}Content-Type: {NPY}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        for _ in range(BODIES_EACH):
            stack.enter_context(closing(opened(server, sent)))
        began = time.monotonic()
        server.ask()
        assert time.monotonic() - began < gate.http.bodies.BODY_SECONDS / 3


def test_bodies_that_end_in_two_ways_or_are_compressed_are_refused(server: Server) -> None:
    key = {"Authorization": f"Bearer {server.keys['alice']}", "Content-Type": NPY}
    both = {"Content-Length": "4", "Transfer-Encoding": "chunked"}
    refused = HTTP.post(f"{server.url}/v1/predict", content=iter([b"body"]), headers=key | both)
    assert "not both" in assert_refused(refused, 400, "malformed")["detail"]
    assert refused.headers["Connection"] == "close"
    page = HTTP.request("GET", server.url, content=iter([b""]), headers=both | {"Content-Length": "0"})
    assert_refused(page, 400, "malformed")
    packed = HTTP.post(
        f"{server.url}/v1/predict",
        content=gzip.compress(encode(IMAGES)),
        headers=key | {"Content-Encoding": "gzip"},
    )
    assert_refused(packed, 415, "unknown_format")


def test_nobody_is_sent_elsewhere(server: Server) -> None:
    response = HTTP.get(f"{server.url}/v1/model/", headers={"Host": "elsewhere"})
    assert_refused(response, 404, "not_found")


def test_a_silent_connection_is_closed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(most=20, an_address=20, idle_seconds=0.2)
    with with_connections(tmp_path, monkeypatch, connections) as server:
        with (
            closing(opened(server)) as silent,
            closing(opened(server, b"GET / HTTP/1.1\r\nX: ")) as dribbling,
        ):
            assert is_closed(silent)
            for _ in range(100):
                try:
                    dribbling.sendall(b"x")
                    time.sleep(0.01)
                except ConnectionError:
                    break
            assert is_closed(dribbling)
        assert not connections.by_address and not connections.idle
        server.ask()


def test_a_trusted_proxy_has_all_and_names_its_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = Connections(most=20, an_address=1, trusted=frozenset({"127.0.0.1"}))
    trusting = {"proxy_headers": True, "forwarded_allow_ips": ["127.0.0.1"]}
    with with_connections(tmp_path, monkeypatch, connections, **trusting) as server, ExitStack() as stack:
        strangers = [stack.enter_context(closing(opened(server))) for _ in range(5)]
        server.ask()
        strangers[0].settimeout(0.2)
        with pytest.raises(TimeoutError):
            strangers[0].recv(1)


def test_a_network_of_proxies_is_trusted() -> None:
    connections = Connections(9, 9, trusted=frozenset({"172.16.0.0/12", "192.0.2.7", "2001:db8::/32"}))
    for address in ("172.18.0.3", "192.0.2.7", network_of("2001:db8::5")):
        assert connections.trusts(address)
    for address in ("172.32.0.1", "192.0.2.8", network_of("2001:db9::5"), "", "testclient"):
        assert not connections.trusts(address)


def test_whatever_a_stranger_asks_for_is_counted(tmp_path: Path) -> None:
    with serving(tmp_path, hosting=Hosting(strangers_a_minute=4)) as server:
        for path in ("/", "/healthz", "/nowhere", "/v1/model"):
            server.get(path)
        for path in ("/", "/healthz", "/page/page.css"):
            assert_refused(server.get(path), 429, "too_many_requests")
        server.ask()


def test_strangers_of_an_address_are_counted_and_accounts_are_not(tmp_path: Path) -> None:
    with serving(tmp_path, hosting=Hosting(strangers_a_minute=3)) as server:
        for _ in range(3):
            assert_refused(server.post("/v1/predict", b"", account=""), 401, "no_key")
        said = assert_refused(server.post("/v1/predict", b"", account=""), 429, "too_many_requests")
        assert "3 requests a minute are allowed without an account" in said["detail"]
        server.ask()


def test_counts_of_strangers_end_with_the_minute_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gate.http.strangers.ADDRESSES", 3)
    monkeypatch.setattr("gate.http.strangers.address_of", lambda request: request)
    now = [0.0]
    strangers = Strangers(2, clock=lambda: now[0])

    def refused(address: str) -> bool:
        try:
            strangers.count(address)  # type: ignore[arg-type]
        except Problem as problem:
            return problem.retry_after == 60 - now[0] % 60
        return False

    assert [refused("a") for _ in range(3)] == [False, False, True]
    now[0] = 59.0
    assert refused("a") and not refused("b")
    now[0] = 60.0
    assert not refused("a")
    assert [refused(each) for each in "cdef"] == [False] * 4
    assert len(strangers._counts) == 3


def test_an_ipv6_network_is_one_address() -> None:
    assert network_of("2001:db8:1:2:3::1") == network_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("192.0.2.7") == network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("") == network_of("no address") == ""


def test_of_a_strangers_endless_body_little_is_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate.http.bodies, "DROPPED_BYTES", 2**18)
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: gate\r\nContent-Type: {NPY}\r\nContent-Length: {10**9}\r\n\r\n"
    )
    with closing(opened(server, head.encode())) as stranger:
        sent = 0
        try:
            while sent < 10**8:
                sent += stranger.send(b"10000\r\n" + bytes(2**16) + b"\r\n")
        except ConnectionError:
            pass
        assert sent < 2**24, "it is closed soon; the rest is what the system buffers"


def test_what_says_it_is_too_large_is_not_read(server: Server) -> None:
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {server.keys['alice']}\r\n"
        f"Content-Type: {NPY}\r\nContent-Length: {10**9}\r\n\r\n"
    )
    with closing(opened(server, head.encode())) as client:
        assert client.recv(12) == b"HTTP/1.1 413"


def test_npy_has_a_limit_of_its_own(server: Server) -> None:
    body = encode(IMAGES) + bytes(5_000)
    assert_refused(server.post("/v1/predict", body, kind=NPY), 413, "too_large")
    assert_refused(server.post("/v1/predict", body), 400, "malformed")
