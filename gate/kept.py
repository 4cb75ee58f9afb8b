"""Work that a client has begun is kept in files, so that a client that was killed goes on and pays once."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pow.puzzles.base import NONCES


@dataclass(frozen=True)
class Solved:
    """A solution that was not redeemed: what the gate still owes an answer for.

    Args:
        token: The challenge.
        nonces: Its solution.
        expected_hashes: Mean hashes of the puzzle.
        tried_hashes: Hashes that were computed for it.
        seconds: Seconds that it took.
    """

    token: str
    nonces: tuple[int, ...]
    expected_hashes: float = 0.0
    tried_hashes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Work:
    """What was begun for a request: the key under which it is sent, and the solution once there is one."""

    attempt: str
    solved: Solved | None = None

    @classmethod
    def begun(cls) -> Work:
        """New work."""
        return cls(secrets.token_hex(16))


class Forgetful:
    """Keeps nothing."""

    def recall(self, body: bytes) -> Work | None:
        """Return what was begun for a request with this body, if anything was."""
        return None

    def remember(self, body: bytes, work: Work) -> None:
        """Keep what is begun for a request."""

    def forget(self, body: bytes) -> None:
        """Forget it: it cannot be answered any more."""

    def answered(self, body: bytes) -> None:
        """Forget it, unless the answer is still to be put on record: the request is answered."""
        self.forget(body)


class Kept(Forgetful):
    """Keeps work in a folder, a file for each request, for its owner only.

    Args:
        folder: The folder, made when something is kept.
        url: Address of the gate.
        key: API key of the account, which is not kept.
    """

    def __init__(self, folder: Path, url: str, key: str) -> None:
        self.folder = folder
        self._whose = hashlib.sha256(f"tollgate work:{url}\n{key}\n".encode())

    def recall(self, body: bytes) -> Work | None:
        """See Forgetful. A file that holds anything else is as good as none."""
        try:
            return _work(json.loads(self._path(body).read_text()))
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None

    def remember(self, body: bytes, work: Work) -> None:
        """See Forgetful."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(body)
        new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with open(new, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                json.dump(asdict(work), file)
            new.replace(path)
        except OSError:
            with suppress(OSError):
                new.unlink()
            raise

    def forget(self, body: bytes) -> None:
        """See Forgetful."""
        with suppress(OSError):
            self._path(body).unlink()

    def _path(self, body: bytes) -> Path:
        name = self._whose.copy()
        name.update(body)
        return self.folder / f"{name.hexdigest()[:32]}.json"


class KeptOnRecord(Kept):
    """Keeps work after it was answered, too: its solution brings the same answer until the challenge expires.

    Whoever puts answers on record removes the folder then.
    """

    def answered(self, body: bytes) -> None:
        """See Forgetful."""


def _work(fields: Mapping[str, Any]) -> Work:
    """Read work; raise ValueError, TypeError or KeyError for what no client has written."""
    solved, attempt = fields["solved"], fields["attempt"]
    if not re.fullmatch(r"[0-9a-f]{32}", attempt):
        raise ValueError
    if solved is None:
        return Work(attempt)
    nonces, token = tuple(solved["nonces"]), solved["token"]
    numbers = (solved["expected_hashes"], solved["tried_hashes"], solved["seconds"])
    if not all(type(nonce) is int and 0 <= nonce < NONCES for nonce in nonces):
        raise ValueError
    if not (isinstance(token, str) and token.isascii() and all(0 <= number < math.inf for number in numbers)):
        raise ValueError
    return Work(attempt, Solved(token, nonces, *numbers))
