"""Accounts over HTTP: their keys, their limits, and the command that adds and removes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from commands import accounts
from gate.ledgers.base import Limits
from gate.protocol import encode
from gate.steps import NPY
from support.gates.over_http import HTTP, IMAGES, Server, assert_answered, assert_refused, serving, solved
from support.gates.server import add_accounts, running, small_app


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


def test_accounts_come_and_go_while_the_gate_serves(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = str(server.folder / "ledger.sqlite")
    assert accounts.main(["add", "carol", "--ledger", ledger]) == 0
    key = capsys.readouterr().out.strip()
    known = replace(server, keys={"carol": key})
    known.ask(account="carol")
    for name in ("carol", "no name"):
        assert accounts.main(["add", name, "--ledger", ledger]) == 1
        assert capsys.readouterr().err.startswith("error: ")
    assert accounts.main(["remove", "carol", "--ledger", ledger]) == 0
    assert_refused(known.post("/v1/predict", encode(IMAGES), "carol", NPY), 401, "unknown_key")
    assert accounts.main(["remove", "carol", "--ledger", ledger]) == 1
    assert "there is no account 'carol'" in capsys.readouterr().err
    assert server.queries("carol") == 3, "what it revealed stays on record"


def test_challenges_outlive_a_restart_and_as_many_keys_as_told(tmp_path: Path) -> None:
    keys = add_accounts(tmp_path)

    @contextmanager
    def restarted() -> Iterator[Server]:
        with running(small_app(tmp_path)) as url:
            yield Server(url, keys, tmp_path)

    with restarted() as server:
        asked = [server.ask(IMAGES[:1]) for _ in range(3)]
    for said, keep, valid in [(asked[0], None, True), (asked[1], 1, True), (asked[2], 0, False)]:
        if keep is not None:
            rotate = ["rotate-key", "--ledger", str(tmp_path / "ledger.sqlite"), "--keep", str(keep)]
            assert accounts.main(rotate) == 0
        with restarted() as server:
            response = server.redeem(said["challenge"], solved(said))
            if valid:
                assert_answered(response, said, IMAGES[:1])
            else:
                assert_refused(response, 403, "forged_challenge")
            server.check_that_it_serves()
