"""Challenges cannot be forged, and the keys that sign them are kept, shared and rotated."""

from __future__ import annotations

import base64
import itertools
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from gate.challenges import (
    SECRET_BYTES,
    TOKEN_LIMIT,
    Challenge,
    InvalidChallenge,
    Keyring,
    load_keyring,
    rotate_keys,
)

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
