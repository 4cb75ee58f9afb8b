"""Opening a ledger by its location."""

from __future__ import annotations

from pathlib import Path

from gate.ledgers.base import Ledger
from gate.ledgers.sqlite import SqliteLedger, Synchronous


def open_ledger(location: str, synchronous: Synchronous = "full") -> Ledger:
    """A Redis server for `redis://...`, else an SQLite file at that path, made where there is none.

    `synchronous` is SQLite's (see SqliteLedger); a Redis server has its own setting, `appendfsync`.
    """
    if location.startswith(("redis://", "rediss://")):
        from gate.ledgers.redis import RedisLedger

        return RedisLedger(location)
    path = Path(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteLedger(path, synchronous)
