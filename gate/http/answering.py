"""The model behind the gate: asked in batches, watched, and believed only where it gives probabilities."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import numpy as np

from gate.gate import Gate
from gate.http.batching import Batcher, Full, Stuck
from gate.http.metrics import Metrics
from gate.problems import Problem

log = logging.getLogger("tollgate.gate")

Predict = Callable[[np.ndarray], np.ndarray]
"""Takes images in [0, 1], float32 `[n, c, h, w]`, and returns probabilities `[n, classes]`."""

BATCHES_WAITING = 16
"""Number of largest batches that may wait for the model; further requests are refused."""


class Model:
    """A model, and the meter of what its answers reveal.

    Args:
        predict: The model.
        gate: Says what is served, and meters it.
        metrics: Gets the time that it takes.
        seconds: Seconds that a batch may take.
    """

    def __init__(self, predict: Predict, gate: Gate, metrics: Metrics, seconds: float) -> None:
        self.predict, self.gate, self.metrics, self.seconds = predict, gate, metrics, seconds
        largest = gate.service.largest_batch
        self.batcher = Batcher(self._evaluate, largest, BATCHES_WAITING * largest, seconds)

    async def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return probabilities float32 `[n, classes]` and what they reveal, float64 `[n, d]`.

        Raises Problem where too many wait, or where the model does not answer.
        """
        started = time.perf_counter()
        try:
            answer = await self.batcher(images)
        except Full:
            raise Problem("busy", "too many queries wait for the model", retry_after=1) from None
        except Stuck:
            raise Problem("busy", "the model does not answer", retry_after=5) from None
        self.metrics.inference.observe(time.perf_counter() - started)
        return answer

    def check(self) -> None:
        """Raise Problem where the model does not answer."""
        if self.batcher.is_stuck:
            raise Problem("busy", "the model does not answer", retry_after=5)

    async def watch(self, on_stuck: Callable[[], None] | None) -> None:
        """Tell the host once that the model is stuck."""
        while on_stuck is not None:
            await asyncio.sleep(min(1.0, self.seconds / 4))
            if self.batcher.is_stuck:
                log.error("the model has been at one batch for more than %g s", self.seconds)
                on_stuck()
                return

    async def close(self) -> None:
        """Wait for the batch that is being computed, and stop."""
        await self.batcher.close()

    def _evaluate(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities float32 `[n, classes]`, and what they reveal, float64 `[n, d]`."""
        probabilities = np.asarray(self.predict(images), dtype=np.float32)
        expected = (len(images), self.gate.service.classes)
        if probabilities.shape != expected:
            raise ValueError(f"the model gave {probabilities.shape} for {expected} images and classes")
        if not np.isfinite(probabilities).all():
            raise ValueError("the model gave probabilities that are not finite")
        return probabilities, self.gate.meter.reveal(images, probabilities)
