"""What waits for the model together is computed together, in order, and to each its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gate.model.batching import Batcher, Full

Arrays = tuple[np.ndarray, ...]


class Model:
    """Doubles images, and remembers its batches; each waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.failing = False

    def __call__(self, images: np.ndarray) -> Arrays:
        self.batches.append(len(images))
        assert self.go.wait(10)
        if self.failing:
            raise RuntimeError("out of order")
        return images * 2, -images[:, 0]


async def first_is_computed(batcher: Batcher, images: np.ndarray) -> asyncio.Task[Arrays]:
    """A call that the model is at work on."""
    task = asyncio.create_task(batcher(images))
    while batcher._queue or not isinstance(batcher.evaluate, Model) or not batcher.evaluate.batches:
        await asyncio.sleep(0.001)
    return task


def batching(largest: int, waiting: int, test: Callable[[Batcher, Model], Any]) -> None:
    """Run a test with a batcher over a model."""

    async def run() -> None:
        model = Model()
        batcher = Batcher(model, largest, waiting)
        try:
            await asyncio.wait_for(test(batcher, model), 20)
        finally:
            model.go.set()
            await batcher.close()

    asyncio.run(run())


def numbered(first: int, count: int) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.float32)[:, None]


def test_what_arrives_meanwhile_goes_together_and_in_order() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        tasks = [await first_is_computed(batcher, numbered(0, 1))]
        sizes = [3, 2, 3, 1, 4, 9, 1]
        for first, size in zip(np.cumsum([1, *sizes]), sizes, strict=False):
            tasks.append(asyncio.create_task(batcher(numbered(first, size))))
        await asyncio.sleep(0)
        model.go.set()
        results = await asyncio.gather(*tasks)
        for (doubled, negative), first, size in zip(
            results, np.cumsum([0, 1, *sizes]), [1, *sizes], strict=False
        ):
            assert np.array_equal(doubled, 2 * numbered(first, size))
            assert np.array_equal(negative, -numbered(first, size)[:, 0])
        assert model.batches == [1, 8, 5, 9, 1]

    batching(8, 100, test)


def test_an_error_reaches_all_callers_of_its_batch_and_no_others() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        tasks = [await first_is_computed(batcher, numbered(0, 1))]
        model.failing = True
        model.go.set()
        tasks += [asyncio.create_task(batcher(numbered(first, 1))) for first in range(3)]
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in errors] == ["out of order"] * 4
        model.failing = False
        assert (await batcher(numbered(5, 1)))[0] == 10

    batching(8, 100, test)


def test_a_caller_that_leaves_takes_nothing_from_others() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        at_work = await first_is_computed(batcher, numbered(0, 2))
        tasks = [asyncio.create_task(batcher(numbered(first, 1))) for first in (10, 20, 30)]
        await asyncio.sleep(0)
        at_work.cancel()
        tasks[1].cancel()
        await asyncio.sleep(0)
        model.go.set()
        assert [(await task)[0].item() for task in (tasks[0], tasks[2])] == [20, 60]
        assert at_work.cancelled() and tasks[1].cancelled()

    batching(8, 100, test)


def test_no_more_than_the_limit_may_wait() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        tasks = [await first_is_computed(batcher, numbered(0, 4))]
        tasks += [asyncio.create_task(batcher(numbered(first, 2))) for first in (0, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await batcher(numbered(0, 2))
        tasks.append(asyncio.create_task(batcher(numbered(0, 1))))
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(*tasks)
        assert (await batcher(numbered(0, 2)))[0].tolist() == [[0], [2]]
        assert sum(model.batches) == 4 + 2 + 2 + 1 + 2

    batching(4, 5, test)


def test_nobody_waits_for_longer_than_twice_a_computation_may_take() -> None:
    def slow(images: np.ndarray) -> Arrays:
        time.sleep(0.15)
        return (images,)

    async def call() -> None:
        batcher = Batcher(slow, largest=1, waiting=100, seconds=0.25)
        ended = await asyncio.gather(
            *(batcher(np.full((1, 1), number)) for number in range(8)), return_exceptions=True
        )
        kinds = [type(each) for each in ended]
        assert kinds[:2] == [tuple] * 2 and kinds[-2:] == [Full] * 2
        assert isinstance(await batcher(np.zeros((1, 1))), tuple), "those who left are not computed for long"
        await batcher.close()

    asyncio.run(call())


def test_closing_waits_for_what_is_computed() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        await first_is_computed(batcher, numbered(0, 1))
        threading.Timer(0.1, model.go.set).start()
        started = time.perf_counter()
        await batcher.close()
        assert model.go.is_set() and time.perf_counter() - started > 0.05

    batching(4, 5, test)
