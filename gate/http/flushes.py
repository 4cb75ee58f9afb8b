"""Flushes wait for the disk, once for all who wait at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio.to_thread


class Flushes:
    """Calls `flush` in a thread for whoever waits: once for all who came while it was called before."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self.flush = flush
        self._next: asyncio.Task[None] | None = None
        self._current: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Return once a flush has ended that began after this call; raises what it raised."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._current))
        await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._current, self._next = self._next, None
        await anyio.to_thread.run_sync(self.flush)
