"""Solutions over HTTP: each is redeemed once, by its account, in its time, and in one form only."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.gates.over_http import (
    IMAGES,
    Server,
    assert_answered,
    assert_refused,
    count,
    process_of_its_own,
    serving,
    solved,
)


def test_a_solution_brings_the_same_answer_each_time(server: Server) -> None:
    before = count(server, "tollgate_puzzles_solved")
    said = server.ask()
    nonces = solved(said)
    assert_answered(server.redeem(said["challenge"], nonces), said)
    for _ in range(2):
        assert_answered(server.redeem(said["challenge"], nonces), said)
    assert count(server, "tollgate_puzzles_solved") == before + 1


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


def test_redemptions_at_the_same_instant_get_the_same_answer(tmp_path: Path) -> None:
    connections, challenges = 8, 30
    with process_of_its_own(tmp_path) as (server, _):
        asked = [server.ask(IMAGES[:1]) for _ in range(challenges)]
        bodies = [json.dumps({"challenge": said["challenge"], "nonces": solved(said)}) for said in asked]
        together = threading.Barrier(connections)
        headers = {"Authorization": f"Bearer {server.keys['alice']}"}

        def redeem_all(_: int) -> list[bytes]:
            answers = []
            with closing(http.client.HTTPConnection(server.url.removeprefix("http://"))) as connection:
                for body in bodies:
                    together.wait(30)
                    connection.request("POST", "/v1/redeem", body, headers)
                    response = connection.getresponse()
                    assert response.status == 200
                    answers.append(response.read())
            return answers

        with ThreadPoolExecutor(connections) as threads:
            by_connection = list(threads.map(redeem_all, range(connections)))
    assert all(answers == by_connection[0] for answers in by_connection)


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
