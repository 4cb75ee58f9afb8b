"""Over HTTP a request that is sent again is booked once, and gets what it got before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from gate.app import Hosting
from gate.protocol import encode
from gate.steps import JSON, NPY
from support.gates.over_http import (
    IMAGES,
    Server,
    SlowModel,
    assert_answered,
    assert_refused,
    serving,
    solved,
)
from support.gates.server import random_images


def asked(server: Server, key: str, content: bytes | None = None, account: str = "alice") -> httpx.Response:
    body = encode(IMAGES) if content is None else content
    return server.post("/v1/predict", body, account, NPY, {"Idempotency-Key": key})


def challenged(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 402, response.text
    said: dict[str, Any] = response.json()
    return said


def test_a_request_that_is_sent_again_is_booked_once(server: Server) -> None:
    before = server.queries()
    said = challenged(asked(server, "one"))
    assert challenged(asked(server, "one")) == said
    assert server.queries() == before + len(IMAGES)
    assert_answered(server.redeem(said["challenge"], solved(said)), said)
    assert challenged(asked(server, "one")) == said, "also once it is paid for"
    assert challenged(asked(server, "two")) != said
    assert challenged(asked(server, "one", account="bob"))["challenge"] != said["challenge"]


def test_a_key_stands_for_one_body(server: Server) -> None:
    challenged(asked(server, "body"))
    other = encode(random_images(3, seed=9))
    assert_refused(asked(server, "body", other), 422, "key_reused")
    as_json = server.post("/v1/predict", b'{"images": []}', kind=JSON, headers={"Idempotency-Key": "body"})
    assert_refused(as_json, 422, "key_reused")


@pytest.mark.parametrize("key", ["", "a b", "a" * 65, "a;b"])
def test_what_is_no_key_is_refused(server: Server, key: str) -> None:
    assert_refused(asked(server, key), 400, "malformed")


def test_a_request_that_failed_may_be_sent_again(server: Server) -> None:
    assert_refused(asked(server, "bad", b"no images"), 400, "malformed")
    challenged(asked(server, "bad"))


def test_two_at_a_time_are_one(tmp_path: Path) -> None:
    model = SlowModel()
    with serving(tmp_path, predict=model) as server, ThreadPoolExecutor(2) as threads:
        first = threads.submit(asked, server, "one")
        assert model.asked.wait(20)
        assert_refused(asked(server, "one"), 409, "in_progress")
        model.go.set()
        said = challenged(first.result())
        assert challenged(asked(server, "one")) == said
        assert server.queries() == len(IMAGES)


def test_an_account_that_is_disabled_is_refused(tmp_path: Path) -> None:
    from commands.accounts import main

    with serving(tmp_path, hosting=Hosting()) as server:
        server.ask()
        ledger = ("--ledger", str(tmp_path / "ledger.sqlite"))
        assert main(["disable", "alice", *ledger]) == 0
        assert_refused(asked(server, "one"), 403, "disabled")
        assert main(["enable", "alice", *ledger]) == 0
        server.ask()
        assert main(["limit", "alice", "--pending", "1", *ledger]) == 0
        assert_refused(asked(server, "two"), 429, "too_many_pending")


def test_as_many_answers_are_remembered_as_the_accounts_own_limit_says(tmp_path: Path) -> None:
    from commands.accounts import main

    with serving(tmp_path) as server:
        assert main(["limit", "alice", "--pending", "2", "--ledger", str(tmp_path / "ledger.sqlite")]) == 0
        paid = []
        for _ in range(3):
            said = server.ask()
            nonces = solved(said)
            assert_answered(server.redeem(said["challenge"], nonces), said)
            paid.append((said, nonces))
        first, *others = paid
        assert_refused(server.redeem(first[0]["challenge"], first[1]), 409, "spent")
        for said, nonces in others:
            assert_answered(server.redeem(said["challenge"], nonces), said)
