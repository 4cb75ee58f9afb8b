"""Images are read from npy and JSON, exactly; anything else is refused, cheaply, and never executed."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gate.payloads import body_limit, decode, query_digest
from gate.problems import Problem
from gate.protocol import encode
from support.gates.bomb import Bomb
from support.gates.server import IMAGE_SHAPE, LARGEST_BATCH, random_images

NPY, JSON = "application/x-npy", "application/json"


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
