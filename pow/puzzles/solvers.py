"""Solvers solve puzzles in this process, on all cores, or with PyTorch."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from threading import Event

from pow.puzzles.base import Puzzle, Solution
from pow.puzzles.sha256 import COMPILES_FROM, Sha256Puzzle

log = logging.getLogger(__name__)

POOL_CHUNKS, THREAD_CHUNKS = 100, 2
"""A puzzle of fewer chunks (some 2 s, and 40 ms) is searched by one process, or one thread."""

COMPILE_SECONDS = 120.0
"""With a timeout of at most this, nothing is compiled, since a compilation cannot be stopped."""

ALIGNED = 2**24
"""Searches start at multiples of it, as a kernel's batches do, so that its first batch is used whole."""

Search = Callable[[int, int, int], int | None]
"""Takes a part, a first nonce and a number of nonces; see Puzzle.search."""


class Unsolved(Exception):
    """Solving stopped without a solution, after `tried` hashes."""

    def __init__(self, reason: str, tried: int) -> None:
        super().__init__(reason, tried)
        self.reason, self.tried = reason, tried

    def __str__(self) -> str:
        return f"{self.reason} after {self.tried} hashes"


def solve(
    puzzle: Puzzle,
    workers: int | None = None,
    *,
    device: str | None = None,
    seed: int = 0,
    max_hashes: int | None = None,
    timeout: float | None = None,
    cancel: Event | None = None,
) -> Solution:
    """Find nonces that solve all parts: each part's first from a start that the seed decides.

    Args:
        puzzle: Puzzle to solve.
        workers: Processes that search. They are spawned, so a script that calls this needs
            `if __name__ == "__main__"`. Default: this process, all cores or PyTorch, whichever is fastest.
        device: "cpu" or "cuda" solves a sha256 puzzle there, with PyTorch if it is large, and ignores
            `workers`; see `kernel.searcher`. The kernel may be compiled first, for up to a minute.
        seed: Decides the start. The nonces depend on it and the puzzle alone, not on who searches.
        max_hashes: Stop after so many hashes.
        timeout: Stop after so many seconds.
        cancel: Stop once it is set.

    Returns:
        The solution. Its `tried` counts hashes that processes computed in vain, but not the rest of a
        kernel's last batch.

    Raises:
        Unsolved: A limit is reached; `timeout` and `cancel` take effect within a chunk of hashes.
        ValueError: An option is not valid; the message names it.
    """
    _check_options(workers, seed, max_hashes, timeout)
    limits = _Limits(max_hashes, timeout, cancel)
    start = first_nonce(seed)
    if device is not None:
        from pow.puzzles import kernel  # PyTorch takes seconds to import

        return _solve_here(puzzle, start, limits, *kernel.searcher(puzzle, device))
    if workers is None:
        return _solve_as_fits(puzzle, start, limits)
    if workers == 1:
        return _solve_here(puzzle, start, limits, puzzle.search, puzzle.chunk)
    return _solve_on_cores(puzzle, start, limits, workers)


def first_nonce(seed: int) -> int:
    """Return the nonce where the search starts: below 2^63, so that it never reaches the last nonce."""
    drawn = int.from_bytes(hashlib.sha256(b"%d" % seed).digest()[:8], "big") >> 1
    return drawn - drawn % ALIGNED


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_options(workers: int | None, seed: int, max_hashes: int | None, timeout: float | None) -> None:
    if workers is not None and (type(workers) is not int or workers < 1):
        raise ValueError(f"workers must be a whole number of at least 1, or None; it is {workers!r}")
    if type(seed) is not int:
        raise ValueError(f"seed must be a whole number; it is {seed!r}")
    if max_hashes is not None and (type(max_hashes) is not int or max_hashes < 1):
        raise ValueError(f"max_hashes must be a whole number of at least 1, or None; it is {max_hashes!r}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be above 0 seconds, or None; it is {timeout!r}")


class _Limits:
    """Counts hashes, and raises Unsolved at `max_hashes`, after `timeout` seconds or once `cancel` is set."""

    def __init__(self, max_hashes: int | None, timeout: float | None, cancel: Event | None) -> None:
        self.max_hashes, self.timeout, self.cancel = max_hashes, timeout, cancel
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.tried = 0

    def grant(self, wanted: int, under_way: int = 0) -> int:
        """Return how many of the wanted hashes may be tried, if `under_way` others are being tried.

        It is 0 if those use up `max_hashes`. Raises Unsolved at a limit.
        """
        if self.cancel is not None and self.cancel.is_set():
            raise Unsolved("cancelled", self.tried)
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise Unsolved("out of time", self.tried)
        if self.max_hashes is None:
            return wanted
        left = self.max_hashes - self.tried - under_way
        if left == 0 and under_way == 0:
            raise Unsolved("max_hashes reached", self.tried)
        return min(wanted, left)


def _solve_as_fits(puzzle: Puzzle, start: int, limits: _Limits) -> Solution:
    """Solve in the way that is fastest for a puzzle of this size within the limits."""
    work = min(puzzle.expected_hashes, limits.max_hashes or puzzle.expected_hashes)
    search, chunk = puzzle.search, puzzle.chunk
    if work >= COMPILES_FROM and (limits.timeout is None or limits.timeout > COMPILE_SECONDS):
        compiled = _compiled_search(puzzle)
        if compiled is not None:
            return _solve_here(puzzle, start, limits, *compiled)
    workers = cores()
    if work >= (THREAD_CHUNKS if puzzle.in_threads else POOL_CHUNKS) * chunk and workers > 1:
        try:
            return _solve_on_cores(puzzle, start, limits, workers)
        except BrokenProcessPool:
            # This happens in a script without `if __name__ == "__main__"`.
            log.warning("other processes could not be started or died; solving goes on in this one")
    return _solve_here(puzzle, start, limits, search, chunk)


def _compiled_search(puzzle: Puzzle) -> tuple[Search, int] | None:
    """Return PyTorch's search on its best device, or None where that is not faster, or cannot compile."""
    if not isinstance(puzzle, Sha256Puzzle):
        return None
    try:
        from pow.puzzles import kernel  # PyTorch takes seconds to import
    except ModuleNotFoundError:
        return None
    device = kernel.best_device()
    if puzzle.in_threads and device == "cpu":
        return None
    try:
        return kernel.searcher(puzzle, device)
    except RuntimeError as error:
        log.warning("PyTorch cannot compile (%s); hashlib solves instead", str(error).split("\n", 1)[0])
        return None


def _solve_here(puzzle: Puzzle, start: int, limits: _Limits, search: Search, chunk: int) -> Solution:
    """Solve part after part in this process."""
    nonces = []
    for part in range(puzzle.parts):
        nonce, found = start, None
        while found is None:
            count = limits.grant(chunk)
            found = search(part, nonce, count)
            limits.tried += count if found is None else found - nonce + 1
            nonce += count
        nonces.append(found)
    return Solution(tuple(nonces), limits.tried)


@dataclass
class _Part:
    """Progress of a part: nonces below `next` are handed out, and processes search `at_work` chunks."""

    index: int
    next: int
    at_work: int = 0
    found: int | None = None


_Running = dict[Future[int | None], tuple[_Part, int, int]]
"""Chunks that processes search: their part, first nonce and number of nonces."""


def _solve_on_cores(puzzle: Puzzle, start: int, limits: _Limits, workers: int) -> Solution:
    """Hand out chunks in order to free processes, spread over parts so that few hashes are in vain."""
    parts = [_Part(index, start) for index in range(puzzle.parts)]
    unsolved = dict(enumerate(parts))
    running: _Running = {}
    with _pool(puzzle, workers) as pool:
        try:
            while unsolved:
                _hand_out(puzzle, unsolved, pool, running, limits, workers)
                # The timeout is the longest that a deadline or a cancellation goes unnoticed.
                done, _ = wait(running, timeout=0.05, return_when=FIRST_COMPLETED)
                for solved in _take_in(done, running, limits):
                    unsolved.pop(solved, None)
        except Unsolved as stop:
            _take_in(list(running), running, limits)
            raise Unsolved(stop.reason, limits.tried) from None
        # Chunks still searched may hold an earlier solution of a part; their hashes count in any case.
        _take_in(list(running), running, limits)
    return Solution(tuple(part.found for part in parts if part.found is not None), limits.tried)


def _pool(puzzle: Puzzle, workers: int) -> Executor:
    if puzzle.in_threads:
        return ThreadPoolExecutor(workers)
    # Spawned, since a fork would copy other threads' locks.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def _hand_out(
    puzzle: Puzzle,
    unsolved: dict[int, _Part],
    pool: Executor,
    running: _Running,
    limits: _Limits,
    workers: int,
) -> None:
    """Hand each free process a chunk of the part that the fewest processes search."""
    under_way = sum(count for _, _, count in running.values())
    limits.grant(0, under_way)
    while len(running) < workers:
        count = limits.grant(puzzle.chunk, under_way)
        if count == 0:
            return
        # It is enough to look at as many parts as there are processes: a part that nobody searches, if there
        # is one, is among them.
        part = min(islice(unsolved.values(), workers), key=lambda part: part.at_work)
        future = pool.submit(puzzle.search, part.index, part.next, count)
        running[future] = part, part.next, count
        part.at_work += 1
        part.next += count
        under_way += count


def _take_in(futures: Iterable[Future[int | None]], running: _Running, limits: _Limits) -> list[int]:
    """Wait for chunks, count their hashes, keep each part's first nonce; return the parts with a new one."""
    solved = []
    for future in futures:
        found = future.result()
        part, start, count = running.pop(future)
        part.at_work -= 1
        limits.tried += count if found is None else found - start + 1
        if found is not None:
            part.found = found if part.found is None else min(found, part.found)
            solved.append(part.index)
    return solved
