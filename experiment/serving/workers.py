"""Workers are processes that serve the same socket; one that ends is replaced within seconds."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from gate.http.metrics import forget_worker

log = logging.getLogger("tollgate.gate")

SPAWN = multiprocessing.get_context("spawn")

SHORT_SECONDS = 10.0
"""A worker that has lived for less is replaced later, and twice as late each time: something is wrong."""

LONGEST_PAUSE = 30.0

LOOK_SECONDS = 0.2
"""Seconds after which the supervisor looks whether it is to stop, or a worker is to be replaced."""


def supervise(work: Callable[[], None], count: int, grace: float) -> None:
    """Keep so many processes at work until this one is told to stop.

    Args:
        work: What each of them does; it is sent to them, and ends when it gets SIGTERM.
        count: Number of processes.
        grace: Seconds that they have to end; then they are killed.
    """
    stop = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {each: signal.signal(each, told) for each in (signal.SIGTERM, signal.SIGINT)}
    workers = [_Worker(work) for _ in range(count)]
    try:
        while not stop.is_set():
            _wait_for_an_end(workers, stop)
            for worker in workers:
                worker.replace_if_ended()
    finally:
        _end(workers, grace)
        for number, handler in before.items():
            signal.signal(number, handler)


class _Worker:
    """One process, or the next one in its place."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work, self.pause, self.due = work, 0.0, 0.0
        self.start()

    def start(self) -> None:
        self.process: SpawnProcess = SPAWN.Process(target=_serve, args=(self.work,))
        self.process.start()
        self.started = time.monotonic()

    def replace_if_ended(self) -> None:
        if self.process.is_alive():
            return
        now = time.monotonic()
        if not self.due:
            lived = now - self.started
            self.pause = min(LONGEST_PAUSE, max(1.0, 2 * self.pause)) if lived < SHORT_SECONDS else 0.0
            self.due = now + self.pause
            log.error("worker %s ended with status %s", self.process.pid, self.process.exitcode)
            forget_worker(self.process.pid or 0)
        if now >= self.due:
            self.due = 0.0
            self.start()


def _wait_for_an_end(workers: list[_Worker], stop: threading.Event) -> None:
    """Wait a moment, less if one of those at work ends; those that have ended would not let it wait."""
    alive = [worker.process.sentinel for worker in workers if worker.process.is_alive()]
    if alive:
        wait(alive, timeout=LOOK_SECONDS)
    else:
        stop.wait(LOOK_SECONDS)


def _end(workers: list[_Worker], grace: float) -> None:
    deadline = time.monotonic() + grace + 1
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(work: Callable[[], None]) -> None:
    """Work, but not on when the supervisor is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor hears it too, and ends this
    supervisor = multiprocessing.parent_process()
    assert supervisor is not None

    def follow() -> None:
        supervisor.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    work()
