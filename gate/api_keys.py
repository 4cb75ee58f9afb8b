"""API keys are shown once and kept as digests."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping

from gate.ledgers.base import Ledger

PREFIX = "tg_"
ACCOUNT_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


def key_digest(key: str) -> bytes:
    """Return the digest that is stored of a key, whose 256 random bits cannot be found by trying."""
    return hashlib.sha256(b"tollgate api key:" + key.encode()).digest()


def key_in(headers: Mapping[str, str]) -> str:
    """Return the key that a request's headers bear; nothing where they bear none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def derived_key(secret: bytes) -> str:
    """Return a key that is as hard to guess as its 32 secret bytes."""
    return PREFIX + base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def check_name(account: object) -> None:
    """Raise ValueError unless an account may have this name."""
    if not (isinstance(account, str) and ACCOUNT_NAME.fullmatch(account)):
        raise ValueError(f"an account's name is 1 to 64 letters, digits or _ . @ -, not {account!r}")


def new_account(ledger: Ledger, account: str) -> str:
    """Add an account and return its key; raise ValueError for a name that is not valid or is taken."""
    check_name(account)
    key = PREFIX + secrets.token_urlsafe(32)
    ledger.add_account(account, key_digest(key))
    return key
