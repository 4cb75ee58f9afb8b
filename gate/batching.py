"""Batching gathers the images that arrive while one batch is computed into the next batch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""Takes images `[n, c, h, w]` and returns arrays with one row per image."""


_Waiting = tuple[np.ndarray, asyncio.Future[tuple[np.ndarray, ...]]]
"""Images that wait, and the future that gets their arrays."""


class Full(Exception):
    """The queue has no room for more images."""


class Batcher:
    """Gathers concurrent calls into batches and computes one batch at a time, in a thread of its own.

    Args:
        evaluate: Computes a batch.
        largest: Images in a batch; only a single call may bring more.
        waiting: Images that may wait; a call that would exceed it is refused, unless nothing waits.
    """

    def __init__(self, evaluate: Evaluate, largest: int, waiting: int) -> None:
        self.evaluate, self.largest, self.limit = evaluate, largest, waiting
        self._queue: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the arrays for these images `[n, c, h, w]`; raise Full, or what `evaluate` raises."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        if self._queue and len(images) + sum(len(queued) for queued, _ in self._queue) > self.limit:
            raise Full
        future: asyncio.Future[tuple[np.ndarray, ...]] = asyncio.get_running_loop().create_future()
        self._queue.append((images, future))
        self._arrived.set()
        return await future

    async def close(self) -> None:
        """Wait for the batch that is being computed, and stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown()

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            images = np.concatenate([images for images, _ in batch])
            try:
                arrays = await asyncio.get_running_loop().run_in_executor(self._thread, self.evaluate, images)
                self._hand_out(batch, arrays)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)

    def _take(self) -> list[_Waiting]:
        """Take calls from the queue until a batch is full, but at least one."""
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
