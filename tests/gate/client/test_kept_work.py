"""Work is kept until it is answered: a client that was killed goes on and pays once."""

from __future__ import annotations

import json
import multiprocessing
import random
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import gate.client
import gate.model.asking
from gate import protocol
from gate.client import Client, Refused, Willing
from gate.kept import Kept, Work
from support.gates.over_http import IMAGES, MANY_HASHES, Instead, Server, count, serving
from support.gates.server import (
    predict,
    random_images,
)


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
    for done in range(1, whole):
        with server.client(keep=tmp_path) as client:
            steps_of(client, done)
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
    with server.client(keep=tmp_path) as client, pytest.raises(Refused):
        client.request(np.zeros((1, 2, 2, 2), dtype=np.float32))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("status", [404, 401, 403])
def test_a_refusal_after_a_lost_reply_keeps_the_key(server: Server, tmp_path: Path, status: int) -> None:
    """A proxy in between says so, or the account is disabled for a while; the query was booked before."""
    before = server.queries()
    with server.client(keep=tmp_path) as client:
        real = client.http._transport
        client.http._transport = LostThenRefused(real, status)
        with pytest.raises(Refused):
            client.request(IMAGES)
        client.http._transport = real
        assert np.array_equal(client.request(IMAGES).answer, predict(IMAGES))
    assert server.queries() == before + len(IMAGES)


class LostThenRefused(httpx.BaseTransport):
    """Loses the first reply, and answers with a status from then on."""

    def __init__(self, real: httpx.BaseTransport, status: int) -> None:
        self.real, self.status, self.asked = real, status, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See BaseTransport."""
        self.asked += 1
        if self.asked == 1:
            self.real.handle_request(request).read()
            raise httpx.ReadError("lost")
        return httpx.Response(self.status)


def damaged_solution(kept: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return kept | {"solved": kept["solved"] | changes}


DAMAGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "an infinite nonce": lambda kept: json.dumps(damaged_solution(kept, nonces=[float("inf")])),
    "a negative nonce": lambda kept: json.dumps(damaged_solution(kept, nonces=[-1, 2])),
    "a huge nonce": lambda kept: json.dumps(damaged_solution(kept, nonces=[2**64, 2])),
    "wrong nonces": lambda kept: json.dumps(damaged_solution(kept, nonces=[10**9, 10**9])),
    "no nonces": lambda kept: json.dumps(damaged_solution(kept, nonces=[])),
    "a token that is a number": lambda kept: json.dumps(damaged_solution(kept, token=7)),
    "a long token": lambda kept: json.dumps(damaged_solution(kept, token="a" * 9999)),
    "an attempt in two lines": lambda kept: json.dumps(kept | {"attempt": "a\nb", "solved": None}),
    "an attempt that is no ASCII": lambda kept: json.dumps(kept | {"attempt": "é" * 32, "solved": None}),
    "no end": lambda kept: "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_work_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "kept"
    with (
        serving(tmp_path, calibration=MANY_HASHES) as server,
        server.client(keep=folder, retries=0) as client,
    ):
        real = client.http._transport
        client.http._transport = RedeemsNothing(real)
        with pytest.raises(Refused):
            client.request(IMAGES)
        client.http._transport = real
        (path,) = folder.iterdir()
        path.write_text(DAMAGED[damage](json.loads(path.read_text())))
        assert np.array_equal(client.request(IMAGES).answer, predict(IMAGES))
        assert not [*folder.iterdir()]
        assert server.queries() <= (1 if damage == "wrong nonces" else 2) * len(IMAGES)


class RedeemsNothing(httpx.BaseTransport):
    """Loses what is sent to redeem."""

    def __init__(self, real: httpx.BaseTransport) -> None:
        self.real = real

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See BaseTransport."""
        if request.url.path.endswith("redeem"):
            raise httpx.ConnectError("lost")
        return self.real.handle_request(request)


def test_what_cannot_be_kept_is_redeemed_all_the_same(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Kept.remember

    def full(kept: Kept, body: bytes, work: Work) -> None:
        if work.solved is not None:
            raise OSError(28, "No space left on device")
        real(kept, body, work)

    monkeypatch.setattr(Kept, "remember", full)
    with server.client(keep=tmp_path) as client:
        assert np.array_equal(client.request(IMAGES).answer, predict(IMAGES))


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
