"""Turns let so many at a time do what takes memory or processors, and everybody who waits in a fair order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gate.problems import Problem


@dataclass
class _Line:
    """Those of one name: their places, and how many hold or wait for one."""

    places: asyncio.Semaphore
    present: int = field(default=0)


class Turns:
    """Gives turns, at most so many at a time, and fewer to anyone of the same name.

    Args:
        what: What waits for a turn, as a refusal says it.
        at_once: Turns at a time.
        each: Turns of one name at a time, so that whoever asks for many takes none from others.
        waiting: Those of one name that may wait; further ones are refused.
        seconds: Longest wait.
    """

    def __init__(self, what: str, at_once: int, each: int, waiting: int, seconds: float = 60.0) -> None:
        self.what, self.each, self.most, self.seconds = what, each, each + waiting, seconds
        self._places = asyncio.Semaphore(at_once)
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def __call__(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it; raises Problem where too many of this name wait, or for too long."""
        line = self._lines.setdefault(name, _Line(asyncio.Semaphore(self.each)))
        if line.present >= self.most:
            raise Problem("busy", f"too many {self.what} wait", retry_after=1)
        line.present += 1
        try:
            async with (
                _within(line.places, self.seconds, self.what),
                _within(self._places, self.seconds, self.what),
            ):
                yield
        finally:
            line.present -= 1
            if not line.present:
                del self._lines[name]


@asynccontextmanager
async def _within(places: asyncio.Semaphore, seconds: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            await places.acquire()
    except TimeoutError:
        raise Problem("busy", f"{what} wait too long", retry_after=5) from None
    try:
        yield
    finally:
        places.release()
