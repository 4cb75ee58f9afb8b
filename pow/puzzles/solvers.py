"""Solving puzzles: here, on all cores, or with PyTorch."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from threading import Event

from pow.puzzles.base import Puzzle, Solution
from pow.puzzles.sha256 import COMPILES_FROM, Sha256Puzzle

log = logging.getLogger(__name__)

POOL_CHUNKS = 100
"""A puzzle of fewer chunks (some 2 s) is solved in this process: starting others would take about as long."""

COMPILE_SECONDS = 120.0
"""No puzzle that must be solved within it is compiled for, since a compilation cannot be stopped."""

ALIGNED = 2**24
"""Searches start at multiples of it, as a kernel's batches do, whose first is then used as a whole."""

Search = Callable[[int, int, int], int | None]
"""Of a part, a first nonce and a number of nonces; see Puzzle.search."""


class Unsolved(Exception):
    """Solving was given up; `tried` hashes were computed."""

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
    """Nonces that solve all parts.

    The nonces depend on the puzzle and `seed` alone: each part's is the first winner from a start that the
    seed decides, whoever searches. That is `workers` processes, or with `device` ("cpu", "cuda") PyTorch for
    large sha256 puzzles; `workers` then does not matter. With neither, what is fastest for the puzzle's size:
    this process, all cores, or PyTorch. Processes are spawned: a script that starts them needs
    `if __name__ == "__main__"`. PyTorch compiles for up to a minute first, see `pow.puzzles.kernel`.

    `tried` counts all hashes, with those that other processes computed in vain, but not the rest of a
    kernel's last batch. Raises Unsolved after `max_hashes` hashes, after `timeout` seconds, or when `cancel`
    is set, the last two within a chunk; ValueError naming the option for options that make no sense.
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
    """Where the search starts: below 2^63, so that it never comes to the last nonce."""
    drawn = int.from_bytes(hashlib.sha256(b"%d" % seed).digest()[:8], "big") >> 1
    return drawn - drawn % ALIGNED


def cores() -> int:
    """Cores that this process may use."""
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
    """Counts hashes, and says when to give up."""

    def __init__(self, max_hashes: int | None, timeout: float | None, cancel: Event | None) -> None:
        self.max_hashes, self.timeout, self.cancel = max_hashes, timeout, cancel
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.tried = 0

    def grant(self, wanted: int, under_way: int = 0) -> int:
        """How many of the wanted hashes may be tried besides those under way; 0 if those use all up."""
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
    """By whatever is fastest for a puzzle of this size within the limits."""
    work = min(puzzle.expected_hashes, limits.max_hashes or puzzle.expected_hashes)
    search, chunk = puzzle.search, puzzle.chunk
    if work >= COMPILES_FROM and (limits.timeout is None or limits.timeout > COMPILE_SECONDS):
        compiled = _compiled_search(puzzle)
        if compiled is not None:
            return _solve_here(puzzle, start, limits, *compiled)
    workers = cores()
    if work >= POOL_CHUNKS * chunk and workers > 1:
        try:
            return _solve_on_cores(puzzle, start, limits, workers)
        except BrokenProcessPool:
            # As in a script without `if __name__ == "__main__"`.
            log.warning("other processes could not be started or died; solving goes on in this one")
    return _solve_here(puzzle, start, limits, search, chunk)


def _compiled_search(puzzle: Puzzle) -> tuple[Search, int] | None:
    """PyTorch's search on its best device; None for other puzzles, or without PyTorch or a compiler."""
    if not isinstance(puzzle, Sha256Puzzle):
        return None
    try:
        from pow.puzzles import kernel  # PyTorch takes seconds to import
    except ModuleNotFoundError:
        return None
    try:
        return kernel.searcher(puzzle, kernel.best_device())
    except RuntimeError as error:
        log.warning("PyTorch cannot compile (%s); hashlib solves instead", str(error).split("\n", 1)[0])
        return None


def _solve_here(puzzle: Puzzle, start: int, limits: _Limits, search: Search, chunk: int) -> Solution:
    """Part after part in this process."""
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
    """How far a part's search is: nonces below `next` are handed out, `at_work` chunks are being searched."""

    index: int
    next: int
    at_work: int = 0
    found: int | None = None


_Running = dict[Future[int | None], tuple[_Part, int, int]]
"""Chunks at work: their part, first nonce and number of nonces."""


def _solve_on_cores(puzzle: Puzzle, start: int, limits: _Limits, workers: int) -> Solution:
    """Chunks in order to whichever process is free; spread over parts, so that little is tried in vain."""
    parts = [_Part(index, start) for index in range(puzzle.parts)]
    unsolved = dict(enumerate(parts))
    running: _Running = {}
    # Spawned, since a fork would copy other threads' locks.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            while unsolved:
                _hand_out(puzzle, unsolved, pool, running, limits, workers)
                # No longer than a deadline or a cancellation may go unseen.
                done, _ = wait(running, timeout=0.05, return_when=FIRST_COMPLETED)
                for solved in _take_in(done, running, limits):
                    unsolved.pop(solved, None)
        except Unsolved as stop:
            _take_in(list(running), running, limits)
            raise Unsolved(stop.reason, limits.tried) from None
        # Chunks at work may hold earlier winners than those found, and count even if not.
        _take_in(list(running), running, limits)
    return Solution(tuple(part.found for part in parts if part.found is not None), limits.tried)


def _hand_out(
    puzzle: Puzzle,
    unsolved: dict[int, _Part],
    pool: ProcessPoolExecutor,
    running: _Running,
    limits: _Limits,
    workers: int,
) -> None:
    """A chunk for every free process, of the part that fewest work on."""
    under_way = sum(count for _, _, count in running.values())
    limits.grant(0, under_way)
    while len(running) < workers:
        count = limits.grant(puzzle.chunk, under_way)
        if count == 0:
            return
        # Among as many parts as there are processes, one is not being worked on, or no more are left.
        part = min(islice(unsolved.values(), workers), key=lambda part: part.at_work)
        future = pool.submit(puzzle.search, part.index, part.next, count)
        running[future] = part, part.next, count
        part.at_work += 1
        part.next += count
        under_way += count


def _take_in(futures: Iterable[Future[int | None]], running: _Running, limits: _Limits) -> list[int]:
    """Wait for chunks, count their hashes, keep each part's first winner; the parts that have one now."""
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
