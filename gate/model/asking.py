"""The model behind the gate: asked in batches, watched, and believed only where it gives probabilities."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import numpy as np

from gate.gate import Gate
from gate.http.metrics import Metrics
from gate.model.batching import TURNS, Batcher, Full, Stuck
from gate.model.fitting import Predict, fitted
from gate.problems import Problem

__all__ = ["Model", "Predict"]

log = logging.getLogger("tollgate.gate")

BATCHES_WAITING = 16
"""Number of largest batches that may wait for the model; further requests are refused."""


class Model:
    """A model, and the meter of what its answers reveal.

    Args:
        predict: The model.
        gate: Says what is served, and meters it.
        metrics: Gets the time that it takes.
        seconds: Seconds that a batch may take.
        defended: Whether defenses change its answers; see fitted.

    Raises:
        ValueError: It does not take the service's images, or answers no probabilities of its classes.
    """

    def __init__(
        self, predict: Predict, gate: Gate, metrics: Metrics, seconds: float, defended: bool = False
    ) -> None:
        service = gate.service
        self.predict = fitted(predict, service.image_shape, service.classes, defended)
        self.gate, self.metrics, self.seconds = gate, metrics, seconds
        largest = service.largest_batch
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

    @property
    def longest_wait(self) -> float:
        """Seconds after which an answer is there, or refused."""
        return TURNS * self.seconds

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
        probabilities = self.predict(images)
        return probabilities, self.gate.meter.reveal(images, probabilities)
