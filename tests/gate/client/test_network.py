"""What stands between client and gate, TLS and proxies, is used as told, and its faults are named."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gate.client import Client, Refused, Willing
from support.gates.over_http import Server
from support.gates.server import (
    free_port,
)
from support.gates.tls import tls_server


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


class Answers(httpx.BaseTransport):
    """Answers with this, whatever is asked."""

    def __init__(self, content: bytes | Iterator[bytes], **headers: str) -> None:
        self.content, self.headers = content, headers

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See BaseTransport."""
        return httpx.Response(200, headers=self.headers, stream=Parts(self.content))


class Parts(httpx.SyncByteStream):
    def __init__(self, content: bytes | Iterator[bytes]) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        return iter([self.content] if isinstance(self.content, bytes) else self.content)


def served(image_shape: list[object]) -> bytes:
    """What a gate says of such images."""
    said = {"image_shape": image_shape, "classes": 10, "answers": "soft", "largest_batch": 64}
    return json.dumps(said).encode()


@pytest.mark.parametrize(
    ("content", "headers", "reason"),
    [
        (itertools.repeat(b"0" * 2**20), {}, "no_gate"),
        (b"[" * 100_000, {}, "no_gate"),
        (b"no gzip", {"Content-Encoding": "gzip"}, "unreachable"),
        (b"", {}, "no_gate"),
        (served([1, 8, 8, 8]), {}, "no_gate"),
        (served([3, 10**6, 10**6]), {}, "no_gate"),
        (served([1, 8, "8"]), {}, "no_gate"),
    ],
    ids=["endless", "deep", "bad gzip", "empty", "four sides", "huge images", "words"],
)
def test_what_a_hostile_gate_answers_is_refused(
    content: bytes | Iterator[bytes], headers: dict[str, str], reason: str
) -> None:
    with Client("http://127.0.0.1:1", "tg_any", Willing(retries=0)) as client:
        client.http._transport = Answers(content, **headers)
        with pytest.raises(Refused) as caught:
            client.model()
    assert caught.value.reason == reason
