"""The parts of the gate, without HTTP: challenges, images, prices, batches, keys."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import pickle
import random
import stat
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_server import (
    FREE,
    IMAGE_SHAPE,
    LARGEST_BATCH,
    METER,
    predict,
    random_images,
    small_ledger,
    small_service,
)

from benchmarks import gate as gate_benchmark
from pow.calibration.linear import LinearCalibration
from pow.gate.api_keys import key_digest, new_account
from pow.gate.batching import Batcher, Full
from pow.gate.challenges import (
    SECRET_BYTES,
    TOKEN_LIMIT,
    Challenge,
    InvalidChallenge,
    Keyring,
    load_keyring,
    rotate_keys,
)
from pow.gate.gate import Asked, Gate
from pow.gate.images import body_limit, decode, encode, query_digest
from pow.gate.ledger import Ledger, Limits
from pow.gate.problems import Problem
from pow.puzzles import HashcashPuzzle, PuzzleSettings, Sha256Puzzle, solve

NPY, JSON = "application/x-npy", "application/json"

# Challenges

CHALLENGE = Challenge(
    id="0f" * 16,
    account="alice",
    query="ab" * 32,
    kind="argon2id",
    difficulty=1000.5,
    parts=4,
    expires=1.75e9,
    options={"memory": 64},
)
OTHERS = Challenge(
    id="1f" * 16,
    account="alice2",
    query="bb" * 32,
    kind="hashcash",
    difficulty=1000.25,
    parts=5,
    expires=1.75e9 + 1,
    options={"memory": 65},
)
KEYRING = Keyring([b"k" * SECRET_BYTES])


def refused(token: str, keyring: Keyring = KEYRING) -> bool:
    try:
        keyring.open(token)
    except InvalidChallenge:
        return True
    return False


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def test_a_token_says_the_whole_challenge() -> None:
    signed = KEYRING.sign(CHALLENGE)
    assert KEYRING.open(signed.token) == signed
    assert signed.challenge == CHALLENGE
    assert len(signed.token) < TOKEN_LIMIT / 4


@pytest.mark.parametrize("field", [field.name for field in fields(Challenge)])
def test_no_field_can_be_changed(field: str) -> None:
    signed = KEYRING.sign(CHALLENGE)
    changed = replace(CHALLENGE, **{field: getattr(OTHERS, field)})
    key_id, said, tag = signed.token.split(".")
    forged = json.dumps(asdict(changed), sort_keys=True, separators=(",", ":")).encode()
    assert len(forged) - len(decoded(said)) in range(-3, 3)
    assert refused(".".join([key_id, encoded(forged), tag]))
    # Signed, it is another puzzle: a solution of one is none of the other.
    assert KEYRING.sign(changed).tag != signed.tag == signed.challenge.puzzle(signed.tag).challenge
    assert KEYRING.open(KEYRING.sign(changed).token).challenge == changed


def test_no_character_can_be_changed_added_or_left_out() -> None:
    token = KEYRING.sign(CHALLENGE).token
    for position, character in itertools.product(range(len(token)), "A0z-_+/=. \né"):
        if token[position] != character:
            assert refused(token[:position] + character + token[position + 1 :]), position
        assert refused(token[:position] + character + token[position:]), position
    assert all(refused(token[:position] + token[position + 1 :]) for position in range(len(token)))
    assert all(refused(token[:position]) for position in range(len(token)))
    assert not refused(token)


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("account", ["a", "bc", "def"])
def test_other_spellings_of_the_same_bytes_are_refused(account: str) -> None:
    token = KEYRING.sign(replace(CHALLENGE, account=account)).token
    key_id, said, tag = token.split(".")
    content, bare = decoded(said), said.rstrip("=")
    # The last character of a text may have bits that say nothing.
    texts = {bare[:-1] + last for last in ALPHABET if decoded(bare[:-1] + last) == content}
    texts |= {text + "=" * padding for text in texts for padding in range(4)}
    texts |= {text + space for text in texts for space in " \n\r\t"}
    assert len(texts) >= 20 and all(decoded(text) == content for text in texts)
    assert [text for text in texts if not refused(f"{key_id}.{text}.{tag}")] == [said]
    assert all(refused(other) for other in (token.upper(), f"{key_id.upper()}.{said}.{tag}", token + "\n"))
    assert refused(f"{key_id}.{said}.{tag.upper()}") and refused(f"{key_id}.{said}.0x{tag}")


def test_servers_that_start_at_once_have_the_same_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with ThreadPoolExecutor(16) as pool:
        keyrings = list(pool.map(load_keyring, [path] * 16))
    token = keyrings[0].sign(CHALLENGE).token
    assert not any(refused(token, keyring) for keyring in keyrings)
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize(
    "token", ["", ".", "..", "...", "a.b", "a.b.c", "é.é.é", "\ud800.a.b", "A" * 10**6, "." * 10**6]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refused(token)


def test_rotated_keys_stay_valid_as_long_as_told(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "keys"
    first = load_keyring(path).sign(CHALLENGE).token
    rotate_keys(path, keep=1)
    second = load_keyring(path).sign(CHALLENGE).token
    assert first.split(".")[0] != second.split(".")[0]
    assert not refused(first, load_keyring(path)) and not refused(second, load_keyring(path))
    rotate_keys(path, keep=1)
    assert refused(first, load_keyring(path)) and not refused(second, load_keyring(path))
    rotate_keys(path, keep=0)
    assert refused(second, load_keyring(path))
    assert len(path.read_text().split()) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["keys"]


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    token = load_keyring(path).sign(CHALLENGE).token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = path.read_bytes()
    assert len(bytes.fromhex(written.decode())) == SECRET_BYTES
    assert not refused(token, load_keyring(path)) and path.read_bytes() == written
    rotate_keys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"\n", b"password", b"ab" * 31, b"\xff\xfe\x00", b"0g" * 32])
def test_a_key_file_that_holds_no_keys_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path} holds no signing keys"):
        load_keyring(path)
    with pytest.raises(OSError, match=str(tmp_path)):
        load_keyring(tmp_path)


# Images


def read(body: bytes, kind: str = NPY) -> np.ndarray:
    return decode(body, kind, IMAGE_SHAPE, LARGEST_BATCH)


def why(body: bytes, kind: str = NPY) -> str:
    with pytest.raises(Problem) as caught:
        read(body, kind)
    return caught.value.reason


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle=True)
    return file.getvalue()


def headed(header: str, content: bytes = b"") -> bytes:
    """An npy file with any header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin1") + content


def shaped(shape: str, content: bytes = b"", dtype: str = "'<f4'") -> bytes:
    return headed(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}\n", content)


def in_json(images: Any) -> bytes:
    return json.dumps({"images": images}).encode()


IMAGES = random_images(3)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_read_in_all_its_versions(version: tuple[int, int], order: Any) -> None:
    images = np.asarray(IMAGES, order=order)
    found = read(npy(images, version))
    assert found.dtype == np.float32 and np.array_equal(found, IMAGES)
    assert query_digest(found) == query_digest(IMAGES)
    assert np.array_equal(read(encode(IMAGES[::-1]), "Application/Octet-Stream"), IMAGES[::-1])


def test_bytes_are_fractions_of_255_in_float32() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(4, *IMAGE_SHAPE)
    for order in ("C", "F"):
        found = read(npy(np.asarray(levels, order=order)))
        assert found.dtype == np.float32
        assert np.array_equal(found.ravel(), np.arange(256, dtype=np.float32) / np.float32(255))
    assert (found.min(), found.max()) == (0, 1)


def test_json_gives_the_same_images_and_digest() -> None:
    images = np.random.default_rng(0).random((LARGEST_BATCH, *IMAGE_SHAPE), dtype=np.float32)
    body = in_json(images.tolist())
    assert len(body) <= body_limit(IMAGE_SHAPE, LARGEST_BATCH)
    found = read(body, "application/json; charset=utf-8")
    assert found.dtype == np.float32 and np.array_equal(found, images)
    assert query_digest(found) == query_digest(read(encode(images)))
    assert np.array_equal(read(in_json([[[[1] * 8] * 8]]), JSON), np.ones((1, *IMAGE_SHAPE)))


def test_other_images_have_other_digests() -> None:
    nudged = IMAGES.copy()
    nudged[2, 0, 7, 7] = np.nextafter(nudged[2, 0, 7, 7], np.float32(2))
    others = [nudged, IMAGES[:2], IMAGES[::-1], IMAGES.reshape(3, 1, 64, 1)]
    assert len({query_digest(images) for images in [IMAGES, *others]}) == 5


def with_pixel(value: float, dtype: Any = np.float32) -> np.ndarray:
    images = IMAGES.astype(dtype)
    images[1, 0, 3, 5] = value
    return images


ONE = [[[[0.5] * 8] * 8]]


def with_value(value: str) -> bytes:
    return in_json(ONE).replace(b"0.5", value.encode(), 1)


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (encode(IMAGES), "text/plain", "unknown_format"),
        (encode(IMAGES), "", "unknown_format"),
        (encode(IMAGES), "multipart/form-data; boundary=application/x-npy", "unknown_format"),
        (encode(IMAGES), JSON, "malformed"),
        (in_json(ONE), NPY, "malformed"),
        (b"", NPY, "malformed"),
        (b"\x93NUMPY", NPY, "malformed"),
        (b"\x93NUMPY\x01\x00\xff\xff{", NPY, "malformed"),
        (b"\x93NUMPY\x09\x00" + encode(IMAGES)[8:], NPY, "malformed"),
        (encode(IMAGES)[:-1], NPY, "malformed"),
        (encode(IMAGES) + b"\x00", NPY, "malformed"),
        (shaped("(4, 1, 8, 8)", bytes(3 * 256)), NPY, "malformed"),
        (shaped("(3, 1, 8, 8)", bytes(4 * 256)), NPY, "malformed"),
        (shaped("(-1, -1, 8, 8)", bytes(256)), NPY, "malformed"),
        (shaped("(0, -1, 8, 8)"), NPY, "malformed"),
        (shaped(f"({10**30}, 1, 8, 8)", bytes(256)), NPY, "malformed"),
        (shaped(f"({2**64}, 1, 8, 8)"), NPY, "malformed"),
        (shaped(f"(0, {10**30}, 8, 8)"), NPY, "malformed"),
        (shaped("(1, 1, 8, 8.0)", bytes(256)), NPY, "malformed"),
        (shaped("('1', 1, 8, 8)", bytes(256)), NPY, "malformed"),
        (shaped("1", bytes(4)), NPY, "malformed"),
        (shaped("__import__('os').getcwd()", bytes(256)), NPY, "malformed"),
        (shaped("(1, 1, 8, 8", bytes(256)), NPY, "malformed"),
        (shaped("(1, 1, 8, 8)", bytes(256), "'nonsense'"), NPY, "malformed"),
        (shaped("(1, 1, 8, 8)", bytes(512), "'|O'"), NPY, "malformed"),
        (shaped("(1, 1, 8, 8)", bytes(512), "[('a', '|O')]"), NPY, "malformed"),
        (headed("-" * 9000 + "1\n"), NPY, "malformed"),
        (headed("[" * 5000), NPY, "malformed"),
        (headed("{'descr':" * 20), NPY, "malformed"),
        (shaped("(1, 1, 8, 8)", bytes(256), "[('a', '<f4')]"), NPY, "invalid_images"),
        (shaped(f"({10**9}, 1, 8, 8)", b"", "'|V0'"), NPY, "invalid_images"),
        (shaped("(1, 1, 8, 8)", bytes(256), "'>f4'"), NPY, "invalid_images"),
        *[
            (npy(IMAGES.astype(dtype)), NPY, "invalid_images")
            for dtype in ("f8", "f2", "i1", "i4", "i8", "u2", "?", "c8", "S4", "U4", "M8[s]")
        ],
        *[
            (npy(with_pixel(value)), NPY, "invalid_images")
            for value in (np.nan, np.inf, -np.inf, -1e-9, 1.0000001)
        ],
        (npy(IMAGES[:0]), NPY, "invalid_images"),
        (npy(random_images(LARGEST_BATCH + 1)), NPY, "invalid_images"),
        (npy(IMAGES[0]), NPY, "invalid_images"),
        (npy(IMAGES[None]), NPY, "invalid_images"),
        (npy(IMAGES.reshape(3, 8, 8, 1)), NPY, "invalid_images"),
        (npy(IMAGES[..., :7]), NPY, "invalid_images"),
        (b"", JSON, "malformed"),
        (b"null", JSON, "malformed"),
        (b"[]", JSON, "malformed"),
        (b"{}", JSON, "malformed"),
        (json.dumps(ONE).encode(), JSON, "malformed"),
        (in_json(ONE)[:-1], JSON, "malformed"),
        (in_json(ONE) + b"{}", JSON, "malformed"),
        (in_json(ONE).decode().encode("utf-16"), JSON, "malformed"),
        (b'{"images": "\xff"}', JSON, "malformed"),
        (b'{"images": ' + b"[" * 10**5, JSON, "malformed"),
        (b'{"images": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", JSON, "malformed"),
        (b'{"images": ' + b'{"a": ' * 10**4 + b"1" + b"}" * 10**4 + b"}", JSON, "malformed"),
        (in_json(None), JSON, "malformed"),
        (in_json("images"), JSON, "malformed"),
        (in_json({"0": ONE}), JSON, "malformed"),
        (in_json([]), JSON, "invalid_images"),
        (in_json([[]]), JSON, "invalid_images"),
        (in_json(0.5), JSON, "malformed"),
        (in_json(ONE[0]), JSON, "invalid_images"),
        (in_json([ONE]), JSON, "invalid_images"),
        (in_json([[[[0.5] * 8] * 7 + [[0.5] * 7]]]), JSON, "invalid_images"),
        (in_json([[[[0.5] * 7] * 8]]), JSON, "invalid_images"),
        (in_json(ONE * (LARGEST_BATCH + 1)), JSON, "invalid_images"),
        *[
            (with_value(value), JSON, "invalid_images")
            for value in (
                "-0.001 1.00000001 1.00001 2 -1 1e39 1e999 -1e999 true false null NaN Infinity -Infinity"
                ' "0.5" "" [] [0.5] {} 1' + "0" * 400
            ).split(" ")
        ],
    ],
    ids=lambda value: str(value[:40]) if isinstance(value, bytes) else None,
)
def test_anything_else_is_refused(body: bytes, kind: str, reason: str) -> None:
    assert why(body, kind) == reason


class Bomb:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_nothing_that_is_sent_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    objects = npy(np.full((1, *IMAGE_SHAPE), Bomb(trace), dtype=object))
    np.load(io.BytesIO(objects), allow_pickle=True)
    assert trace.exists(), "the payload works where pickles are loaded"
    trace.unlink()
    zipped = io.BytesIO()
    np.savez(zipped, images=np.full((1, *IMAGE_SHAPE), Bomb(trace), dtype=object))
    for body in (objects, pickle.dumps(Bomb(trace)), zipped.getvalue()):
        assert why(body) == why(body, "application/octet-stream") == why(body, JSON) == "malformed"
    assert not trace.exists()


@pytest.mark.parametrize(
    "body",
    [
        b'{"images": ["' + b"x" * 10_000 + b'"' + b",0" * 10_000 + b"]}",
        b'{"images": [[[["' + b"x" * 10_000 + b'"' + b",0" * 10_000 + b"]]]]}",
        b'{"images": [' + b'"",' * 10_000 + b'""]}',
        b'{"images": [[[[' + b"1e5," * 10_000 + b"1]]]]}",
        shaped(f"({10**9}, 1, 8, 8)", bytes(256)),
        shaped(f"(1, 1, 8, {10**9})", b"", "'|V0'"),
    ],
    ids=["long text", "long text among numbers", "many texts", "many numbers", "tall", "wide"],
)
def test_a_refusal_takes_little_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Problem):
            read(body, JSON if body.startswith(b"{") else NPY)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.filterwarnings("ignore")  # of the parser, about what it is given
def test_damaged_files_are_refused_or_read_and_nothing_else() -> None:
    chance = random.Random(0)
    body = encode(IMAGES)
    outcomes = set()
    for _ in range(1000):
        damaged = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            position = chance.randrange(6, 130)
            damaged[position : position + chance.randint(0, 1)] = bytes(
                [chance.choice(b"(){}[]'\",:-~ LNT0\n#\\x\xff")] * chance.randint(0, 1)
            )
        try:
            found = read(bytes(damaged))
        except Problem as problem:
            outcomes.add(problem.reason)
        else:
            outcomes.add("read")
            assert found.dtype == np.float32 and 0 <= found.min() <= found.max() <= 1
    assert outcomes == {"read", "malformed", "invalid_images"}


# The service


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("answers", "loud", "answers must be one of soft, topk, hard, not 'loud'"),
        ("top_k", 0, "top_k must be between 1 and the 10 classes, not 0"),
        ("top_k", 11, "top_k must be between 1 and the 10 classes, not 11"),
        ("lifetime", 0, "lifetime must be above 0, not 0"),
        ("lifetime", float("nan"), "lifetime must be above 0, not nan"),
        ("patience", -1.0, "patience must be above 0, not -1.0"),
    ],
)
def test_options_that_make_no_sense_are_named(option: str, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small_service(**{option: value})


def test_answers_are_as_rich_as_chosen() -> None:
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32)

    def answer(**changes: Any) -> np.ndarray:
        return small_service(classes=4, **changes).answer(probabilities)

    assert np.array_equal(answer(), probabilities)
    two = np.array([[0, 0, 0.3, 0.4], [0.25, 0.25, 0, 0]], dtype=np.float32)
    assert np.array_equal(answer(answers="topk", top_k=2), two)
    assert np.array_equal(answer(answers="topk", top_k=4), probabilities)
    assert answer(answers="topk").dtype == np.float32
    assert answer(answers="hard").tolist() == [3, 0]


# The gate

BY_COST = LinearCalibration(FREE, slope=0.125, floor=1e-6, request_size=LARGEST_BATCH, reference_rate=64.0)
"""An eighth of a second, 8 hashes, for a unit of cost."""


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(small_ledger(tmp_path)) as ledger:
        yield ledger


def make_gate(ledger: Ledger, **changes: Any) -> Gate:
    return Gate(small_service(**changes), METER, ledger, KEYRING, Clock())


def ask(gate: Gate, account: str, images: np.ndarray = IMAGES) -> Asked:
    probabilities = predict(images)
    return gate.ask(account, images, probabilities, gate.meter.reveal(images, probabilities))


def nonces_of(asked: Asked) -> list[int]:
    return list(solve(asked.signed.puzzle, workers=1).nonces)


def why_unchecked(gate: Gate, account: str, token: str, nonces: object) -> str:
    with pytest.raises(Problem) as caught:
        gate.check(account, token, nonces)
    return caught.value.reason


def cost_of(*queries: np.ndarray) -> float:
    return float(sum(1 + images[:, 0, 0, 0] for images in queries).sum())  # type: ignore[union-attr]


def test_what_was_asked_is_answered_once(ledger: Ledger) -> None:
    gate = make_gate(ledger, answers="hard")
    asked = ask(gate, "alice")
    challenge = gate.check("alice", asked.signed.token, nonces_of(asked))
    assert challenge == asked.signed.challenge
    assert (challenge.account, challenge.query) == ("alice", query_digest(IMAGES))
    assert (challenge.kind, challenge.difficulty, challenge.parts) == ("sha256", 20.0, 2)
    labels = predict(IMAGES).argmax(1).tolist()
    assert json.loads(gate.release(challenge)) == {"labels": labels, "query": challenge.query}
    with pytest.raises(Problem, match="redeemed before") as caught:
        gate.release(challenge)
    assert caught.value.reason == "spent"


@pytest.mark.parametrize("answers", ["soft", "topk"])
def test_probabilities_are_given_exactly(ledger: Ledger, answers: str) -> None:
    gate = make_gate(ledger, answers=answers)
    asked = ask(gate, "alice")
    given = json.loads(gate.release(gate.check("alice", asked.signed.token, nonces_of(asked))))
    probabilities = np.array(given["probabilities"], dtype=np.float32)
    assert np.array_equal(probabilities, gate.service.answer(predict(IMAGES)))
    assert np.count_nonzero(probabilities) == 3 * {"soft": 10, "topk": 3}[answers]


def test_the_cost_rises_with_the_accounts_own_history(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST)
    first, second, third = IMAGES[:1], IMAGES, random_images(4, seed=1)
    seconds = [ask(gate, "alice", images).seconds for images in (first, second, third)]
    costs = [cost_of(first), cost_of(first) + cost_of(second)]
    costs.append(costs[1] + cost_of(third))
    assert seconds == [cost / 8 for cost in costs]
    assert [ask(gate, "bob", first).seconds, ask(gate, "bob", second).seconds] == seconds[:2]
    asked = ask(gate, "alice", first)
    assert asked.signed.challenge.difficulty == 64 * asked.seconds == 8 * (costs[2] + cost_of(first))


def test_all_may_pay_for_each_other(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST, payer=lambda account: "everyone")
    seconds = [ask(gate, account).seconds for account in ("alice", "bob", "alice")]
    assert seconds == [number * cost_of(IMAGES) / 8 for number in (1, 2, 3)]
    assert ledger.totals("alice") is None and ledger.totals("everyone") is not None
    asked = ask(gate, "alice")
    assert why_unchecked(gate, "bob", asked.signed.token, nonces_of(asked)) == "other_account"


def test_what_is_revealed_is_booked_before_it_is_kept(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = make_gate(ledger)

    def full(*arguments: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(ledger, "keep", full)
    with pytest.raises(OSError, match="disk is full"):
        ask(gate, "alice")
    booked = ledger.totals("alice")
    assert booked is not None
    assert booked.queries == 3 and booked.revealed.tolist() == [cost_of(IMAGES)]


def test_what_cannot_be_booked_is_not_kept(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = make_gate(ledger)
    monkeypatch.setattr(ledger, "keep", lambda *arguments: pytest.fail("an answer was kept"))
    with pytest.raises(ValueError, match="not finite"):
        gate.ask("alice", IMAGES, predict(IMAGES), np.full((3, 1), np.nan))


def test_refusals_come_in_order_and_touch_no_ledger(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=replace(BY_COST, reference_rate=1e4))
    asked = ask(gate, "alice")
    token, nonces = asked.signed.token, nonces_of(asked)
    gate.ledger = None  # type: ignore[assignment]
    wrong = [nonces[0] + 1, nonces[1]]
    assert gate.check("alice", token, nonces) == asked.signed.challenge
    assert why_unchecked(gate, "alice", token, wrong) == "wrong_solution"
    gate.clock.now = asked.signed.challenge.expires - 1e-3  # type: ignore[attr-defined]
    assert gate.check("alice", token, tuple(nonces)) == asked.signed.challenge
    gate.clock.now = asked.signed.challenge.expires  # type: ignore[attr-defined]
    assert why_unchecked(gate, "alice", token, nonces) == "expired"
    assert why_unchecked(gate, "alice", token, wrong) == "expired"
    assert why_unchecked(gate, "bob", token, wrong) == "other_account"
    assert why_unchecked(gate, "bob", token + "A", wrong) == "forged_challenge"


@pytest.mark.parametrize(
    "nonces", [[], [0], [0, 0, 0], None, "00", {"0": 0}, [True, False], [0.0, 0.0], [-1, -1], [2**64, 2**64]]
)
def test_what_is_no_solution_is_refused(ledger: Ledger, nonces: object) -> None:
    # Of difficulty 1 a part, so that any nonce would do.
    gate = make_gate(ledger, calibration=replace(BY_COST, slope=1e-9))
    asked = ask(gate, "alice")
    assert gate.check("alice", asked.signed.token, [0, 2**64 - 1])
    assert why_unchecked(gate, "alice", asked.signed.token, nonces) == "wrong_solution"


def test_a_solution_of_another_puzzle_is_refused(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=replace(BY_COST, reference_rate=4000.0))
    asked, again = ask(gate, "alice"), ask(gate, "alice")
    puzzle = asked.signed.puzzle
    assert puzzle.difficulty > 1000
    easier = Sha256Puzzle(puzzle.challenge, 2.0, 2)
    for other in (again.signed.puzzle, easier, HashcashPuzzle(puzzle.challenge, puzzle.difficulty, 2)):
        nonces = list(solve(other, workers=1).nonces)
        assert why_unchecked(gate, "alice", asked.signed.token, nonces) == "wrong_solution"
    assert gate.check("alice", asked.signed.token, nonces_of(asked))


def test_a_challenge_lives_for_the_lifetime_and_its_work(ledger: Ledger) -> None:
    gate = make_gate(ledger, calibration=BY_COST, lifetime=30.0, patience=4.0)
    asked = ask(gate, "alice")
    assert asked.signed.challenge.expires == gate.clock() + 30 + 4 * cost_of(IMAGES) / 8
    challenge = gate.check("alice", asked.signed.token, nonces_of(asked))
    gate.clock.now = challenge.expires  # type: ignore[attr-defined]
    with pytest.raises(Problem) as caught:
        gate.release(challenge)
    assert caught.value.reason == "expired"


def test_the_puzzles_options_are_asked_for(ledger: Ledger) -> None:
    puzzle = PuzzleSettings(HashcashPuzzle, 2, {"date": "240229"})
    gate = make_gate(ledger, puzzle=puzzle)
    asked = ask(gate, "alice")
    assert asked.signed.challenge.options == {"date": "240229"}
    assert asked.signed.puzzle == puzzle.puzzle(asked.signed.tag, 20.0)
    assert gate.check("alice", asked.signed.token, nonces_of(asked))


def test_limits_are_told_with_when_to_come_back(ledger: Ledger) -> None:
    gate = make_gate(ledger, limits=Limits(pending=1, requests_a_minute=2), lifetime=30.0)
    gate.admit("alice")
    ask(gate, "alice")
    with pytest.raises(Problem, match="1 challenges may be open") as caught:
        gate.admit("alice")
    assert caught.value.reason == "too_many_pending"
    assert caught.value.retry_after == pytest.approx(30 + 20 * 0.001)
    gate.clock.now += 31  # type: ignore[attr-defined]
    gate.admit("bob")
    gate.admit("bob")
    with pytest.raises(Problem, match="2 requests a minute") as caught:
        gate.admit("bob")
    assert caught.value.reason == "too_many_requests"
    assert caught.value.retry_after == 60 - gate.clock() % 60


# Batches

Arrays = tuple[np.ndarray, ...]


class Model:
    """Doubles images, and remembers its batches; each waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.failing = False

    def __call__(self, images: np.ndarray) -> Arrays:
        self.batches.append(len(images))
        assert self.go.wait(10)
        if self.failing:
            raise RuntimeError("out of order")
        return images * 2, -images[:, 0]


async def first_is_computed(batcher: Batcher, images: np.ndarray) -> asyncio.Task[Arrays]:
    """A call that the model is at work on."""
    task = asyncio.create_task(batcher(images))
    while batcher._queue or not isinstance(batcher.evaluate, Model) or not batcher.evaluate.batches:
        await asyncio.sleep(0.001)
    return task


def batching(largest: int, waiting: int, test: Callable[[Batcher, Model], Any]) -> None:
    """Run a test with a batcher over a model."""

    async def run() -> None:
        model = Model()
        batcher = Batcher(model, largest, waiting)
        try:
            await asyncio.wait_for(test(batcher, model), 20)
        finally:
            model.go.set()
            await batcher.close()

    asyncio.run(run())


def numbered(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


def test_what_arrives_meanwhile_goes_together_and_in_order() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        tasks = [await first_is_computed(batcher, numbered(0, 1))]
        sizes = [3, 2, 3, 1, 4, 9, 1]
        for first, size in zip(np.cumsum([1, *sizes]), sizes, strict=False):
            tasks.append(asyncio.create_task(batcher(numbered(first, size))))
        await asyncio.sleep(0)
        model.go.set()
        results = await asyncio.gather(*tasks)
        for (doubled, negative), first, size in zip(
            results, np.cumsum([0, 1, *sizes]), [1, *sizes], strict=False
        ):
            assert np.array_equal(doubled, 2 * numbered(first, size))
            assert np.array_equal(negative, -numbered(first, size)[:, 0])
        assert model.batches == [1, 8, 5, 9, 1]

    batching(8, 100, test)


def test_an_error_reaches_all_callers_of_its_batch_and_no_others() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        tasks = [await first_is_computed(batcher, numbered(0, 1))]
        model.failing = True
        model.go.set()
        tasks += [asyncio.create_task(batcher(numbered(first, 1))) for first in range(3)]
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in errors] == ["out of order"] * 4
        model.failing = False
        assert (await batcher(numbered(5, 1)))[0] == 10

    batching(8, 100, test)


def test_a_caller_that_leaves_takes_nothing_from_others() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        at_work = await first_is_computed(batcher, numbered(0, 2))
        tasks = [asyncio.create_task(batcher(numbered(first, 1))) for first in (10, 20, 30)]
        await asyncio.sleep(0)
        at_work.cancel()
        tasks[1].cancel()
        await asyncio.sleep(0)
        model.go.set()
        assert [(await task)[0].item() for task in (tasks[0], tasks[2])] == [20, 60]
        assert at_work.cancelled() and tasks[1].cancelled()

    batching(8, 100, test)


def test_no_more_than_the_limit_may_wait() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        tasks = [await first_is_computed(batcher, numbered(0, 4))]
        tasks += [asyncio.create_task(batcher(numbered(first, 2))) for first in (0, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await batcher(numbered(0, 2))
        tasks.append(asyncio.create_task(batcher(numbered(0, 1))))
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(*tasks)
        assert (await batcher(numbered(0, 2)))[0].tolist() == [[0], [2]]
        assert sum(model.batches) == 4 + 2 + 2 + 1 + 2

    batching(4, 5, test)


def test_closing_waits_for_what_is_computed() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        await first_is_computed(batcher, numbered(0, 1))
        threading.Timer(0.1, model.go.set).start()
        started = time.perf_counter()
        await batcher.close()
        assert model.go.is_set() and time.perf_counter() - started > 0.05

    batching(4, 5, test)


# API keys


def test_a_key_is_nowhere_in_the_ledgers_files(tmp_path: Path, ledger: Ledger) -> None:
    key = new_account(ledger, "alice")
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"alice" in kept and key_digest(key) in kept
    assert (
        key.removeprefix("tg_").encode() not in kept and base64.urlsafe_b64decode(key[3:] + "=") not in kept
    )
    assert key_digest(key).hex().encode() not in kept
    assert len(base64.urlsafe_b64decode(key[3:] + "=")) == 32
    assert ledger.find_account(key_digest(key)) == "alice"
    assert ledger.find_account(key_digest(key + " ")) is None
    assert new_account(ledger, "bob") != key


@pytest.mark.parametrize("name", ["", "a b", "a\n", "é", "a" * 65, "../alice", "'; --", "a:b"])
def test_a_bad_name_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 letters"):
        new_account(ledger, name)


# The benchmark


def test_the_benchmark_measures_every_server_and_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gate", "--requests", "5", "--connections", "2"])
    gate_benchmark.main()
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == [
        "model alone",
        "gate, full",
        "gate, normal",
        "check of a solution",
        "issue of a challenge",
        "booking, keeping and issue, full",
        "release, full",
        "booking, keeping and issue, normal",
        "release, normal",
    ]
    assert all(0 < float(row[1].replace(",", "")) <= float(row[2].replace(",", "")) for row in rows)
    assert all(float(row[4].replace(",", "")) > 0 for row in rows[:3])
    assert [bool(row[3].strip()) for row in rows[:3]] == [False, True, True]


def test_the_benchmark_kills_a_gate_as_often_as_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gate", "--kill", "2"])
    gate_benchmark.main()
    assert capsys.readouterr().out.startswith("2 kills: ")
