"""Batching gathers the images that arrive while one batch is computed into the next batch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from privacy.distributions import check_probabilities

log = logging.getLogger("tollgate.gate")

Predict = Callable[[np.ndarray], np.ndarray]
"""Takes images in [0, 1], float32 `[n, c, h, w]`, and returns probabilities `[n, classes]`."""

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""Takes images `[n, c, h, w]` and returns arrays with one row per image."""


_Waiting = tuple[np.ndarray, asyncio.Future[tuple[np.ndarray, ...]]]
"""Images that wait, and the future that gets their arrays."""


def trial(image_shape: tuple[int, ...], count: int = 2) -> np.ndarray:
    """Return images of random pixels that a model is tried with, float32 `[count, c, h, w]`."""
    return np.random.default_rng(0).random((count, *image_shape), dtype=np.float32)


def fitted(predict: Predict, image_shape: tuple[int, ...], classes: int, defended: bool = False) -> Predict:
    """Return a model that takes any number of images, and whose every answer is checked, after a trial.

    A model that was exported with a fixed batch of one is asked an image at a time.

    Args:
        predict: The model.
        image_shape: Shape of an image, `[c, h, w]`.
        classes: Number of classes.
        defended: Whether defenses change the answers, which need not sum to 1 then.

    Raises:
        ValueError: It takes no such images, or answers no probabilities (see `check_probabilities`).
    """
    images = trial(image_shape)
    takes_many = _takes_many(predict, images)

    def checked(images: np.ndarray) -> np.ndarray:
        ones = [images] if takes_many else np.split(images, len(images))
        answers = np.concatenate([np.asarray(predict(one), dtype=np.float32) for one in ones])
        expected = (len(images), classes)
        if answers.shape != expected:
            raise ValueError(f"the model gave {answers.shape} for {expected} images and classes")
        check_probabilities(answers, "the model", sum_to_one=not defended)
        return answers

    checked(images)
    return checked


def _takes_many(predict: Predict, images: np.ndarray) -> bool:
    """Whether a model takes several images at once; raises ValueError if it does not even take one."""
    try:
        if len(predict(images)) == len(images):
            return True
        said = "answers another number of rows"
    except Exception as error:  # the model is anybody's function, which raises anything
        said = str(error)
    shape = list(images[:1].shape)
    try:
        rows = len(predict(images[:1]))
    except Exception as error:
        raise ValueError(f"the model does not take images float32 {shape}: {error}") from error
    if rows != 1:
        raise ValueError(f"the model answers {rows} rows for an image, where one is needed")
    log.warning("the model takes one image at a time, and is asked so; given two it said: %s", said)
    return False


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
