"""Batching gathers the images that arrive while one batch is computed into the next batch."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""Takes images `[n, c, h, w]` and returns arrays with one row per image."""


_Waiting = tuple[np.ndarray, asyncio.Future[tuple[np.ndarray, ...]]]
"""Images that wait, and the future that gets their arrays."""


TURNS = 2
"""A call waits for so many times the seconds of a computation."""


CLOSE_SECONDS = 3.0
"""Seconds that closing waits for a computation."""


class Full(Exception):
    """The queue has no room for more images, or does not come to these in time."""


class Stuck(Exception):
    """The batch that is being computed takes too long."""


class Batcher:
    """Gathers concurrent calls into batches and computes one batch at a time, in a thread of its own.

    Where a batch fails, each of its calls is computed alone, so that none fails for another one's images.

    Args:
        evaluate: Computes a batch.
        largest: Images in a batch; only a single call may bring more.
        waiting: Images that may wait; a call that would exceed it is refused, unless nothing waits.
        seconds: Seconds that a computation may take; whoever waits for longer ones is refused, and whoever
            waits for twice as long whatever they take.
    """

    def __init__(self, evaluate: Evaluate, largest: int, waiting: int, seconds: float = math.inf) -> None:
        self.evaluate, self.largest, self.limit, self.seconds = evaluate, largest, waiting, seconds
        self._began: float | None = None
        self.busy = 0.0
        """Seconds that have been spent on computations."""
        self.is_abandoned = False
        """Whether it was closed during a computation that did not end in time; nobody can end its thread."""
        self._queue: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the arrays for these images `[n, c, h, w]`; raise Full, Stuck, or what `evaluate` raises."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        if self._queue and len(images) + sum(len(queued) for queued, _ in self._queue) > self.limit:
            raise Full
        future: asyncio.Future[tuple[np.ndarray, ...]] = asyncio.get_running_loop().create_future()
        self._queue.append((images, future))
        self._arrived.set()
        for _ in range(TURNS):
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(future), min(self.seconds, 3600.0))
            if self.is_stuck:
                future.cancel()
                raise Stuck
        future.cancel()
        raise Full

    @property
    def is_stuck(self) -> bool:
        """Whether a computation has taken too long already."""
        return self._began is not None and time.monotonic() - self._began >= self.seconds

    async def close(self) -> None:
        """Wait for the batch that is being computed, but not for long, and stop."""
        deadline = time.monotonic() + CLOSE_SECONDS
        while self._began is not None and not self.is_stuck and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self.is_abandoned = self._began is not None  # a cancelled computation no longer counts as one
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=not self.is_abandoned)

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            if not (batch := self._take()):
                continue
            try:
                arrays = await self._computed(np.concatenate([images for images, _ in batch]))
                self._hand_out(batch, arrays)
            except Exception as error:
                await self._one_by_one(batch, error)

    async def _computed(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        self._began = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self.evaluate, images)
        finally:
            self.busy += time.monotonic() - self._began
            self._began = None

    async def _one_by_one(self, batch: list[_Waiting], error: Exception) -> None:
        """Compute each call of a failed batch alone, and give it its arrays or its own error."""
        for images, future in batch:
            if future.done():
                continue
            if len(batch) == 1:
                future.set_exception(error)
                return
            try:
                self._hand_out([(images, future)], await self._computed(images))
            except Exception as own:
                future.set_exception(own)

    def _take(self) -> list[_Waiting]:
        """Take calls from the queue until a batch is full, but one at least of those who still wait."""
        self._queue = [(images, future) for images, future in self._queue if not future.done()]
        count, images = 0, 0
        while count < len(self._queue) and (
            count == 0 or images + len(self._queue[count][0]) <= self.largest
        ):
            images += len(self._queue[count][0])
            count += 1
        batch, self._queue = self._queue[:count], self._queue[count:]
        if not self._queue:
            self._arrived.clear()
        return batch

    @staticmethod
    def _hand_out(batch: list[_Waiting], arrays: tuple[np.ndarray, ...]) -> None:
        """Give each call its own rows, unless it was cancelled meanwhile."""
        first = 0
        for images, future in batch:
            rows = slice(first, first + len(images))
            first += len(images)
            if not future.done():
                future.set_result(tuple(array[rows] for array in arrays))
