"""Hostile requests, as a table, over either ledger: each is refused in words, and no honest user notices.

After every case nothing is booked to the account that sent it, and the gate answers another one.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gate.api_keys import new_account
from gate.app import Hosting, create_app
from gate.ledgers.base import Ledger
from gate.ledgers.redis import RedisLedger
from gate.protocol import encode
from gate.steps import JSON, NPY
from pow.tariff import Standing
from support.gates.bomb import Bomb
from support.gates.over_http import HTTP, IMAGES, MANY_HASHES, assert_answered, assert_refused, solved
from support.gates.server import METER, predict, running, small_ledger, small_service


@dataclass(frozen=True)
class Target:
    """A gate, the keys of alice and bob, and its ledger seen from elsewhere."""

    url: str
    keys: dict[str, str]
    ledger: Ledger

    def post(self, path: str, content: Any, account: str = "alice", kind: str = JSON) -> httpx.Response:
        headers = {"Content-Type": kind, "Authorization": f"Bearer {self.keys[account]}"}
        return HTTP.post(self.url + path, content=content, headers=headers)

    def ask(self, account: str = "alice", images: np.ndarray = IMAGES) -> dict[str, Any]:
        said = self.post("/v1/predict", encode(images), account, NPY)
        assert said.status_code == 402, said.text
        content: dict[str, Any] = said.json()
        return content

    def redeem(self, challenge: Any, nonces: Any, account: str = "alice") -> httpx.Response:
        return self.post("/v1/redeem", json.dumps({"challenge": challenge, "nonces": nonces}), account)

    def booked(self, account: str = "alice") -> int:
        numbers = self.ledger.standings().get(account)
        return 0 if numbers is None else int(Standing.of(numbers).queries)


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("hostile")

    def opened() -> Ledger:
        if request.param == "sqlite":
            return small_ledger(folder)
        return RedisLedger(request.getfixturevalue("redis_url"), prefix=folder.name)

    with closing(opened()) as ledger:
        keys = {account: new_account(ledger, account) for account in ("alice", "bob")}
        service = small_service(calibration=MANY_HASHES)
        app = create_app(predict, METER, service, opened(), Hosting(strangers_a_minute=10**6))
        with running(app) as url:
            yield Target(url, keys, ledger)


# Queries


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npy_header(header: str, body: bytes = b"") -> bytes:
    padded = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + body


ONE = np.zeros((1, 1, 8, 8), dtype=np.float32)
DEEP = b'{"images": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

QUERIES: dict[str, tuple[bytes, str, int, str]] = {
    "nothing": (b"", NPY, 400, "malformed"),
    "a pickle": (pickle.dumps(Bomb(Path("/nonexistent/bomb"))), NPY, 400, "malformed"),
    "objects in npy": (npy(np.array([{}], dtype=object)), NPY, 400, "malformed"),
    "code in a header": (npy_header("__import__('os').abort()"), NPY, 400, "malformed"),
    "a header of a huge shape": (
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999)}"),
        NPY,
        400,
        "malformed",
    ),
    "a negative shape": (
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 1, 8, 8)}"),
        NPY,
        400,
        "malformed",
    ),
    "no images": (npy(ONE[:0]), NPY, 422, "invalid_images"),
    "NaN": (npy(ONE * np.nan), NPY, 422, "invalid_images"),
    "an infinite pixel": (npy(ONE + np.inf), NPY, 422, "invalid_images"),
    "a pixel above 1": (npy(ONE + 1.5), NPY, 422, "invalid_images"),
    "a negative pixel": (npy(ONE - 0.5), NPY, 422, "invalid_images"),
    "another shape": (npy(ONE[:, :, :4]), NPY, 422, "invalid_images"),
    "doubles": (npy(ONE.astype(np.float64)), NPY, 422, "invalid_images"),
    "more than a request holds": (npy(np.zeros((5, 1, 8, 8), np.uint8)), NPY, 422, "invalid_images"),
    "text": (b"hello", "text/plain", 415, "unknown_format"),
    "no JSON": (b"{", JSON, 400, "malformed"),
    "deep JSON": (DEEP[:20_000], JSON, 413, "too_large"),
    "nested JSON": (b'{"images": ' + b"[" * 300 + b"]" * 300 + b"}", JSON, 422, "invalid_images"),
    "words for pixels": (b'{"images": [[[["a"]]]]}', JSON, 422, "invalid_images"),
    "NaN in JSON": (b'{"images": [[[[NaN]]]]}', JSON, 422, "invalid_images"),
    "uneven JSON": (b'{"images": [[[[0]], [[0, 1]]]]}', JSON, 422, "invalid_images"),
    "more numbers than images have": (
        b'{"images": [[[[' + b"0," * 3000 + b"0]]]]}",
        JSON,
        422,
        "invalid_images",
    ),
    "another encoding": ('{"images": []}'.encode("utf-16"), JSON, 400, "malformed"),
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_hostile_query_is_refused_and_not_booked(target: Target, case: str) -> None:
    content, kind, status, reason = QUERIES[case]
    before = target.booked()
    response = target.post("/v1/predict", content, kind=kind)
    if case == "nested JSON":
        assert response.status_code in (400, 422), response.text
    else:
        assert_refused(response, status, reason)
    assert target.booked() == before
    said = target.ask("bob")
    assert_answered(target.redeem(said["challenge"], solved(said), "bob"), said)


# Redemptions


def spliced(one: str, other: str) -> str:
    """The content of one token under the signature of another."""
    return ".".join([*one.split(".")[:2], other.split(".")[2]])


def edited(token: str, **changes: Any) -> str:
    """A token whose content is changed, under its own signature."""
    key, content, tag = token.split(".")
    fields = json.loads(base64.urlsafe_b64decode(content)) | changes
    text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return f"{key}.{base64.urlsafe_b64encode(text).decode()}.{tag}"


Redemption = Callable[[dict[str, Any], dict[str, Any]], tuple[Any, Any]]
"""From two challenges of the account's, what is sent as a challenge and as its nonces."""

REDEMPTIONS: dict[str, tuple[Redemption, int, str]] = {
    "no nonces": (lambda it, _: (it["challenge"], []), 403, "wrong_solution"),
    "a nonce too few": (lambda it, _: (it["challenge"], solved(it)[:1]), 403, "wrong_solution"),
    "a nonce too many": (lambda it, _: (it["challenge"], [*solved(it), 0]), 403, "wrong_solution"),
    "nonces in another order": (lambda it, _: (it["challenge"], solved(it)[::-1]), 403, "wrong_solution"),
    "another's nonces": (lambda it, other: (it["challenge"], solved(other)), 403, "wrong_solution"),
    "an easier puzzle's": (
        lambda it, _: (it["challenge"], solved(it, difficulty=2.0)),
        403,
        "wrong_solution",
    ),
    "a negative nonce": (lambda it, _: (it["challenge"], [-1, 0]), 422, "invalid_solution"),
    "a nonce of 65 bits": (lambda it, _: (it["challenge"], [2**64, 0]), 422, "invalid_solution"),
    "a truth for a nonce": (lambda it, _: (it["challenge"], [True, 0]), 422, "invalid_solution"),
    "a text for a nonce": (lambda it, _: (it["challenge"], ["0", 0]), 422, "invalid_solution"),
    "a list of lists": (lambda it, _: (it["challenge"], [[0], 0]), 422, "invalid_solution"),
    "nothing for nonces": (lambda it, _: (it["challenge"], None), 422, "invalid_solution"),
    "a number for a challenge": (lambda it, _: (1, solved(it)), 422, "invalid_solution"),
    "no challenge": (lambda it, _: ("", solved(it)), 403, "forged_challenge"),
    "a long challenge": (lambda it, _: ("a" * 4096, solved(it)), 403, "forged_challenge"),
    "a longer challenge": (lambda it, _: ("a" * 4097, solved(it)), 422, "invalid_solution"),
    "a null in a challenge": (lambda it, _: (it["challenge"] + "\x00", solved(it)), 403, "forged_challenge"),
    "a challenge twice": (lambda it, _: (it["challenge"] * 2, solved(it)), 403, "forged_challenge"),
    "a spliced challenge": (
        lambda it, other: (spliced(it["challenge"], other["challenge"]), solved(it)),
        403,
        "forged_challenge",
    ),
    "a cheaper challenge": (
        lambda it, _: (edited(it["challenge"], difficulty=2.0), [0, 0]),
        403,
        "forged_challenge",
    ),
    "a longer life": (
        lambda it, _: (edited(it["challenge"], expires=9e9), solved(it)),
        403,
        "forged_challenge",
    ),
    "another account's name": (
        lambda it, _: (edited(it["challenge"], account="bob"), solved(it)),
        403,
        "forged_challenge",
    ),
}


@pytest.fixture(scope="module")
def asked(target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
    return target.ask(), target.ask()


@pytest.mark.parametrize("case", REDEMPTIONS)
def test_a_hostile_redemption_brings_nothing(
    target: Target, asked: tuple[dict[str, Any], dict[str, Any]], case: str
) -> None:
    redemption, status, reason = REDEMPTIONS[case]
    before = target.booked()
    assert_refused(target.redeem(*redemption(*asked)), status, reason)
    assert target.booked() == before


def test_what_was_tried_in_vain_is_still_to_be_had_by_its_own_account(
    target: Target, asked: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    for said in asked:
        refused = target.redeem(said["challenge"], solved(said), "bob")
        assert_refused(refused, 403, "other_account")
        for _ in range(2):
            assert_answered(target.redeem(said["challenge"], solved(said)), said)
        assert_refused(target.redeem(said["challenge"], solved(said), "bob"), 403, "other_account")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "no_key"),
        ("Basic abc", "no_key"),
        ("Bearer tg_" + "A" * 43, "unknown_key"),
    ],
)
def test_without_a_key_nothing_is_read(target: Target, key: str, reason: str) -> None:
    headers = {"Authorization": key} if key else {}
    for path in ("/v1/predict", "/v1/redeem"):
        assert_refused(HTTP.post(target.url + path, content=bytes(5000), headers=headers), 401, reason)


@pytest.mark.parametrize("path", ["/v1/predict/", "/v1/%00", "/page/../app.py", "/page/%2e%2e/app.py"])
def test_a_path_leads_nowhere_else(target: Target, path: str) -> None:
    with closing(httpx.Client(trust_env=False)) as client:
        response = client.send(httpx.Request("GET", httpx.URL(target.url).copy_with(raw_path=path.encode())))
    assert response.status_code in (404, 405, 307) and b"import" not in response.content
