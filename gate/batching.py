"""One forward pass for all requests that wait: what arrives while a batch is computed goes together next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""Images `[n, c, h, w]` to arrays with a row an image."""


class Full(Exception):
    """More images are waiting than may wait."""


class Batcher:
    """Gathers concurrent calls into batches of about `largest` images; `waiting` images may wait at most.

    Batches are computed in one thread of its own, so a model sees one call at a time.
    """

    def __init__(self, evaluate: Evaluate, largest: int, waiting: int) -> None:
        self.evaluate, self.largest, self.limit = evaluate, largest, waiting
        self._queue: list[tuple[np.ndarray, asyncio.Future[tuple[np.ndarray, ...]]]] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """The arrays for these images; raises Full, or what `evaluate` raised."""
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        if self._queue and len(images) + sum(len(waiting) for waiting, _ in self._queue) > self.limit:
            raise Full
        future: asyncio.Future[tuple[np.ndarray, ...]] = asyncio.get_running_loop().create_future()
        self._queue.append((images, future))
        self._arrived.set()
        return await future

    async def close(self) -> None:
        """Finish what is being computed, and stop."""
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

    def _take(self) -> list[tuple[np.ndarray, asyncio.Future[tuple[np.ndarray, ...]]]]:
        """What waits, until a batch is full; one request at least."""
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
    def _hand_out(
        batch: list[tuple[np.ndarray, asyncio.Future[tuple[np.ndarray, ...]]]], arrays: tuple[np.ndarray, ...]
    ) -> None:
        """Each request its own rows; one that was cancelled meanwhile gets none."""
        first = 0
        for images, future in batch:
            rows = slice(first, first + len(images))
            first += len(images)
            if not future.done():
                future.set_result(tuple(array[rows] for array in arrays))
