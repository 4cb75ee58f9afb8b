"""Challenges cannot be forged, and the keys that sign them are kept, shared and rotated."""

from __future__ import annotations

import base64
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace

import pytest

from gate.challenges import (
    SECRET_BYTES,
    TOKEN_LIMIT,
    Challenge,
    InvalidChallenge,
    Keyring,
    rotate_key,
    shared_keyring,
)
from gate.gate import Gate
from gate.ledgers.base import Ledger
from support.gates.server import METER, small_service

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


def test_servers_that_start_at_once_have_each_others_keys(ledger: Ledger) -> None:
    with ThreadPoolExecutor(16) as pool:
        keyrings = list(pool.map(shared_keyring, [ledger] * 16))
    token = keyrings[0].sign(CHALLENGE).token
    assert not refused(token, shared_keyring(ledger))
    assert all(not refused(each.sign(CHALLENGE).token, shared_keyring(ledger)) for each in keyrings)
    assert all(len(key) == SECRET_BYTES for key in ledger.signing_keys())


@pytest.mark.parametrize(
    "token", ["", ".", "..", "...", "a.b", "a.b.c", "é.é.é", "\ud800.a.b", "A" * 10**6, "." * 10**6]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refused(token)


def test_rotated_keys_stay_valid_as_long_as_told(ledger: Ledger) -> None:
    first = shared_keyring(ledger).sign(CHALLENGE).token
    rotate_key(ledger, keep=1)
    second = shared_keyring(ledger).sign(CHALLENGE).token
    assert first.split(".")[0] != second.split(".")[0]
    assert not refused(first, shared_keyring(ledger)) and not refused(second, shared_keyring(ledger))
    rotate_key(ledger, keep=1)
    assert refused(first, shared_keyring(ledger)) and not refused(second, shared_keyring(ledger))
    rotate_key(ledger, keep=0)
    assert refused(second, shared_keyring(ledger))
    assert len(ledger.signing_keys()) == 1
    with pytest.raises(ValueError, match="--keep must be a whole number between 0 and 1000, not -1"):
        rotate_key(ledger, keep=-1)


def test_a_key_made_by_another_gate_is_known_at_once(ledger: Ledger) -> None:
    here, there = (Gate(small_service(), METER, ledger) for _ in range(2))
    old = here.ask_account().token
    rotate_key(ledger)
    there.refresh_keys()
    new = there.ask_account().token
    assert not here.keyring.knows(new) and here._opened(new).token == new
    assert there._opened(old).token == old
