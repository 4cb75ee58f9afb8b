"""Challenges that a gate signs and need not remember: what must be solved, by whom, for what, until when."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pow.puzzles import KINDS, Puzzle

SECRET_BYTES = 32
TOKEN_LIMIT = 4096
"""Characters of a token at most; ours have some 400."""


class InvalidChallenge(Exception):
    """A token is not one that this gate signed."""


@dataclass(frozen=True)
class Challenge:
    """What a token says. `query` is the digest of what was asked, `expires` in seconds since 1970."""

    id: str
    account: str
    query: str
    kind: str
    difficulty: float
    parts: int
    expires: float
    options: Mapping[str, Any] = field(default_factory=dict)

    def puzzle(self, tag: bytes) -> Puzzle:
        """The puzzle to solve: bound by the signature's tag to all that the challenge says."""
        return KINDS[self.kind](tag, self.difficulty, self.parts, **self.options)


@dataclass(frozen=True)
class Signed:
    """A challenge, its token, and the tag that signs it (HMAC-SHA256)."""

    challenge: Challenge
    token: str
    tag: bytes

    @property
    def puzzle(self) -> Puzzle:
        """What must be solved."""
        return self.challenge.puzzle(self.tag)


class Keyring:
    """Secrets by their ids; the first signs, and what any of them signed is still accepted."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) < SECRET_BYTES for key in keys):
            raise ValueError(f"a keyring needs one secret or more, of at least {SECRET_BYTES} bytes each")
        self._keys = {_key_id(key): key for key in keys}
        self._signs = _key_id(keys[0])

    def sign(self, challenge: Challenge) -> Signed:
        """The challenge with the token that stands for it on the wire."""
        said = json.dumps(vars(challenge), sort_keys=True, separators=(",", ":")).encode()
        text = f"{self._signs}.{base64.urlsafe_b64encode(said).decode()}"
        tag = _tag(self._keys[self._signs], text)
        return Signed(challenge, f"{text}.{tag.hex()}", tag)

    def open(self, token: str) -> Signed:
        """The challenge that a token stands for; raises InvalidChallenge unless this gate signed it."""
        text, _, claimed = token[:TOKEN_LIMIT].rpartition(".")
        key_id, _, said = text.partition(".")
        key = self._keys.get(key_id)
        if key is None or not token.isascii():
            raise InvalidChallenge
        tag = _tag(key, text)
        if not hmac.compare_digest(tag.hex(), claimed):
            raise InvalidChallenge
        return Signed(Challenge(**json.loads(base64.urlsafe_b64decode(said))), token, tag)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"tollgate key id:" + key).hexdigest()[:8]


def _tag(key: bytes, text: str) -> bytes:
    """The signature of a token's text: no other spelling of the same content has it."""
    return hmac.digest(key, b"tollgate challenge 1:" + text.encode(), "sha256")


def load_keyring(path: Path) -> Keyring:
    """The secrets in a file, a line each in hexadecimal, the signing one first; made where there is none."""
    if not path.exists():
        new = _written_beside(path, [])
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(new)  # of servers that start at once, one's keys are everybody's
        new.unlink()
    try:
        return Keyring([bytes.fromhex(line) for line in path.read_text().split()])
    except ValueError as error:
        raise ValueError(
            f"{path} holds no signing keys: a line each, {2 * SECRET_BYTES} hexadecimal digits or more"
        ) from error


def rotate_keys(path: Path, keep: int = 1) -> None:
    """Put a new signing key first, and keep so many old ones, whose challenges stay valid."""
    old = path.read_text().split() if path.exists() else []
    _written_beside(path, old[:keep]).replace(path)


def _written_beside(path: Path, old: Sequence[str]) -> Path:
    """A new file in the same folder, for its owner only, with a new key before the old ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    new.touch(mode=0o600)
    new.write_text("\n".join([secrets.token_hex(SECRET_BYTES), *old]) + "\n")
    return new
