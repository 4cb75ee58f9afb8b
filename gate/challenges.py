"""Challenges say what must be solved, by whom, for which query and until when.

A gate signs them, so it need not store them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gate.ledgers.base import Ledger
from pow.puzzles import KINDS, Puzzle
from storage.options import check_number

SECRET_BYTES = 32
AT_ONCE = 64
"""Gates that may make the first key of a ledger at the same time; each keeps the others'."""

MOST_KEPT = 1000
"""Old keys that may stay valid."""

TOKEN_LIMIT = 4096
"""Most characters of a token; ours have some 400."""


class InvalidChallenge(Exception):
    """This gate did not sign the token."""


@dataclass(frozen=True)
class Challenge:
    """The content of a token.

    Args:
        id: Id in the ledger, hexadecimal.
        account: Account that asked.
        query: Digest of the images that were asked about.
        kind: Kind of puzzle.
        difficulty: Expected hashes.
        parts: Sub-puzzles.
        expires: Seconds since 1970.
        options: The kind's own options.
    """

    id: str
    account: str
    query: str
    kind: str
    difficulty: float
    parts: int
    expires: float
    options: Mapping[str, Any] = field(default_factory=dict)

    def puzzle(self, tag: bytes) -> Puzzle:
        """Make the puzzle to solve. The signature's tag binds it to the whole content of the challenge."""
        return KINDS[self.kind](tag, self.difficulty, self.parts, **self.options)


@dataclass(frozen=True)
class Signed:
    """A challenge, its token, and the tag that signs it (HMAC-SHA256)."""

    challenge: Challenge
    token: str
    tag: bytes

    @property
    def puzzle(self) -> Puzzle:
        """The puzzle to solve."""
        return self.challenge.puzzle(self.tag)


class Keyring:
    """Signs challenges with the first of its secrets, and accepts what any of them signed.

    Args:
        keys: Secrets of at least 32 bytes each, else ValueError.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) < SECRET_BYTES for key in keys):
            raise ValueError(f"a keyring needs one secret or more, of at least {SECRET_BYTES} bytes each")
        self._keys = {_key_id(key): key for key in keys}
        self._signing_id = _key_id(keys[0])

    def sign(self, challenge: Challenge) -> Signed:
        """Sign a challenge and make the token that a client gets."""
        content = json.dumps(vars(challenge), sort_keys=True, separators=(",", ":")).encode()
        text = f"{self._signing_id}.{base64.urlsafe_b64encode(content).decode()}"
        tag = _tag(self._keys[self._signing_id], text)
        return Signed(challenge, f"{text}.{tag.hex()}", tag)

    def open(self, token: str) -> Signed:
        """Return the challenge in a token; raise InvalidChallenge unless this gate signed it."""
        text, _, claimed = token[:TOKEN_LIMIT].rpartition(".")
        key_id, _, content = text.partition(".")
        key = self._keys.get(key_id)
        if key is None or not token.isascii():
            raise InvalidChallenge
        tag = _tag(key, text)
        if not hmac.compare_digest(tag.hex(), claimed):
            raise InvalidChallenge
        return Signed(Challenge(**json.loads(base64.urlsafe_b64decode(content))), token, tag)

    def knows(self, token: str) -> bool:
        """Whether a token names one of these keys as the one that signed it."""
        return token.partition(".")[0] in self._keys

    def derive(self, token: str, purpose: str) -> bytes:
        """Return 32 bytes that follow from a token of this gate, and that nobody else can tell.

        Raises InvalidChallenge for a token that no key of this gate signed.
        """
        self.open(token)
        key = self._keys[token.partition(".")[0]]
        return hmac.digest(key, f"tollgate {purpose} 1:{token}".encode(), "sha256")


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"tollgate key id:" + key).hexdigest()[:8]


def _tag(key: bytes, text: str) -> bytes:
    """Sign a token's text itself, so that no other spelling of the same content is accepted."""
    return hmac.digest(key, b"tollgate challenge 1:" + text.encode(), "sha256")


def shared_keyring(ledger: Ledger) -> Keyring:
    """The keyring of all gates that share a ledger; its first key is made where there is none."""
    return Keyring(
        ledger.signing_keys() or ledger.add_signing_key(secrets.token_bytes(SECRET_BYTES), AT_ONCE)
    )


def rotate_key(ledger: Ledger, keep: int = 1) -> None:
    """Sign with a new key from now on, and keep `keep` old ones, whose challenges stay valid.

    Raises ValueError for a number that makes no sense.
    """
    check_number("--keep", keep, 0, MOST_KEPT, whole=True)
    ledger.add_signing_key(secrets.token_bytes(SECRET_BYTES), keep)
