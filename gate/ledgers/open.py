"""Opens a ledger by its location."""

from __future__ import annotations

from pathlib import Path

from gate.ledgers.base import Ledger
from gate.ledgers.sqlite import SqliteLedger, Synchronous


def open_ledger(location: str, synchronous: Synchronous = "full") -> Ledger:
    """Open the ledger at a location.

    Args:
        location: `redis://...` for a Redis server, else the path of an SQLite file, made if there is none.
        synchronous: See SqliteLedger. A Redis server has its own setting for it, `appendfsync`.

    Raises:
        OSError: The file cannot be opened, or the server cannot be reached.
        ValueError: The location is neither, something else is there, or the server may forget.
    """
    if location.startswith(("redis://", "rediss://")):
        from gate.ledgers.redis import RedisLedger

        return RedisLedger(location)
    if "://" in location:
        raise ValueError(f"a ledger is a file, or redis://HOST:PORT/NUMBER, not {location}")
    path = Path(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteLedger(path, synchronous)
