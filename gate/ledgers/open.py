"""Opens a ledger by its location."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
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
        ValueError: The location is neither, or something else is there.
    """
    if _is_redis(location):
        from gate.ledgers.redis import RedisLedger, as_os_errors

        with as_os_errors(location):
            return RedisLedger(location)
    if "://" in location:
        raise ValueError(f"a ledger is a file, or redis://HOST:PORT/NUMBER, not {location}")
    path = Path(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteLedger(path, synchronous)


@contextmanager
def using(location: str) -> Iterator[Ledger]:
    """Open a ledger for a while. Raises OSError also where a Redis server fails meanwhile."""
    with _redis_errors(location), closing(open_ledger(location)) as ledger:
        yield ledger


def _redis_errors(location: str) -> AbstractContextManager[None]:
    if not _is_redis(location):
        return nullcontext()
    from gate.ledgers.redis import as_os_errors

    return as_os_errors(location)


def _is_redis(location: str) -> bool:
    return location.startswith(("redis://", "rediss://"))
