"""Work is kept until it is answered: a client that was killed goes on and pays once."""

from __future__ import annotations

import json
import multiprocessing
import random
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

import gate.client
import gate.model.asking
from gate import protocol
from gate.client import Client, Refused, Willing
from support.gates.over_http import IMAGES, Instead, Server, count
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
