"""Solving: the same nonces whoever searches, limits, and what is chosen for a puzzle of a given size."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from threading import Event
from types import SimpleNamespace
from typing import Any, Self

import pytest

from pow.puzzles import (
    Argon2idPuzzle,
    HashcashPuzzle,
    Puzzle,
    Sha256Puzzle,
    Solution,
    Unsolved,
    kernel,
    solve,
    solvers,
    verify,
)
from support.commands import run_python

HARD = Sha256Puzzle(b"challenge", 2.0**56)


class LazyPool:
    """In place of processes: of the chunks handed out the newest is searched first, the oldest last."""

    def __init__(self, workers: int, context: object) -> None:
        self.workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, search: Callable[..., int | None], *arguments: int) -> LazyChunk:
        return LazyChunk(lambda: search(*arguments))


class LazyChunk(Future[int | None]):
    """Searched when its result is asked for."""

    def __init__(self, search: Callable[[], int | None]) -> None:
        super().__init__()
        self.search = search

    def result(self, timeout: float | None = None) -> int | None:
        if not self.done():
            self.set_result(self.search())
        return super().result(timeout)


def newest(running: Iterable[Any], **options: Any) -> tuple[set[Any], set[Any]]:
    """As concurrent.futures.wait."""
    *older, last = running
    return {last}, set(older)


@pytest.fixture
def lazy_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "ProcessPoolExecutor", LazyPool)
    monkeypatch.setattr(solvers, "wait", newest)
    for kind in (Sha256Puzzle, HashcashPuzzle, Argon2idPuzzle):
        monkeypatch.setattr(kind, "chunk", 60)


@pytest.mark.usefixtures("lazy_pool")
@pytest.mark.parametrize("parts", [1, 2, 9])
@pytest.mark.parametrize("workers", [2, 5])
def test_the_first_winner_counts_whoever_is_late(parts: int, workers: int) -> None:
    for seed in range(20):
        puzzle = Sha256Puzzle(b"challenge", 50.0 * parts, parts)
        alone = solve(puzzle, workers=1, seed=seed)
        together = solve(puzzle, workers=workers, seed=seed)
        assert together.nonces == alone.nonces
        assert together.tried >= alone.tried


@pytest.mark.parametrize(
    "puzzle",
    [
        Sha256Puzzle(b"challenge", 64 * 400.0, 64),
        HashcashPuzzle(b"challenge", 8 * 512.0, 8),
        Argon2idPuzzle(b"challenge", 20.0, 2, memory=8),
    ],
    ids=lambda puzzle: puzzle.kind,
)
def test_two_processes_find_what_one_finds(puzzle: Puzzle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(puzzle), "chunk", 150)
    alone, together = solve(puzzle, workers=1, seed=1), solve(puzzle, workers=2, seed=1)
    assert together.nonces == alone.nonces
    assert together.tried >= alone.tried
    assert verify(puzzle, together)


def test_nonces_depend_on_puzzle_and_seed_alone() -> None:
    puzzle = Sha256Puzzle(b"challenge", 100.0, 3)
    solutions = {seed: solve(puzzle, seed=seed) for seed in (-1, 0, 1, 2**70)}
    assert all(verify(puzzle, solution) for solution in solutions.values())
    assert len({solution.nonces for solution in solutions.values()}) == len(solutions)
    assert solve(puzzle, seed=1) == solutions[1] and solve(puzzle) == solutions[0]


def test_each_part_is_the_first_winner_from_the_start_on() -> None:
    puzzle = HashcashPuzzle(b"challenge", 64 * 3.0, 3)
    solution, start = solve(puzzle, seed=3), solvers.first_nonce(3)
    for part, nonce in enumerate(solution.nonces):
        assert [n for n in range(start, nonce + 1) if puzzle.accepts(part, n)] == [nonce]
    assert solution.tried == sum(nonce - start + 1 for nonce in solution.nonces)


def test_starts_are_aligned_and_leave_half_of_the_nonces() -> None:
    starts = [solvers.first_nonce(seed) for seed in range(1000)]
    assert all(start % 2**24 == 0 and start < 2**63 for start in starts)
    assert len(set(starts)) == 1000 and max(starts) > 2**62


@pytest.mark.usefixtures("lazy_pool")
@pytest.mark.parametrize("workers", [None, 1, 4])
@pytest.mark.parametrize("max_hashes", [1, 59, 60, 61, 240, 1000])
def test_max_hashes_are_tried_and_no_more(workers: int | None, max_hashes: int) -> None:
    with pytest.raises(Unsolved, match=f"max_hashes reached after {max_hashes} hashes") as caught:
        solve(HARD, workers, max_hashes=max_hashes)
    assert caught.value.tried == max_hashes


@pytest.mark.parametrize("parts", [1, 4])
def test_max_hashes_may_just_suffice(parts: int) -> None:
    puzzle = Sha256Puzzle(b"challenge", 500.0, parts)
    solution = solve(puzzle)
    assert solve(puzzle, max_hashes=solution.tried) == solution
    with pytest.raises(Unsolved) as caught:
        solve(puzzle, max_hashes=solution.tried - 1)
    assert caught.value.tried == solution.tried - 1


@pytest.mark.usefixtures("lazy_pool")
@pytest.mark.parametrize(("workers", "tried"), [(1, 180), (2, 120)])
def test_timeouts(workers: int, tried: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that goes on by a second a look; two processes are looked at before and for each chunk."""
    seconds = itertools.count()
    monkeypatch.setattr(solvers, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    with pytest.raises(Unsolved, match="out of time") as caught:
        solve(HARD, workers, timeout=4)
    assert caught.value.tried == tried


class Cancelled(Event):
    """Set after it was looked at so often."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = iter(range(looks))

    def is_set(self) -> bool:
        return next(self.looks, None) is None


@pytest.mark.usefixtures("lazy_pool")
@pytest.mark.parametrize(("workers", "looks", "tried"), [(1, 0, 0), (2, 0, 0), (1, 3, 180), (2, 3, 120)])
def test_cancellation(workers: int, looks: int, tried: int) -> None:
    with pytest.raises(Unsolved, match="cancelled") as caught:
        solve(HARD, workers, cancel=Cancelled(looks))
    assert caught.value.tried == tried


def test_cancelled_processes() -> None:
    cancel = Event()
    cancel.set()
    with pytest.raises(Unsolved, match="cancelled after 0 hashes"):
        solve(HARD, workers=2, cancel=cancel)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("workers", value) for value in (0, -1, 1.0, True, "2")),
        *(("seed", value) for value in (1.0, None, "0", True)),
        *(("max_hashes", value) for value in (0, -5, 1.0, True)),
        *(("timeout", value) for value in (0, -1.0, float("nan"))),
    ],
)
def test_senseless_options_are_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option} must be "):
        solve(Sha256Puzzle(b"challenge", 1.0), **{option: value})


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What solving was left to; nothing is solved, on a machine of three cores."""
    names: list[str] = []

    def record(name: str) -> Solution:
        names.append(name)
        return Solution((), 0)

    def search(*arguments: int) -> None:
        raise AssertionError(arguments)

    def searcher(puzzle: Puzzle, device: str) -> tuple[object, int]:
        names.append(f"PyTorch on {device}")
        return search, 7

    def here(puzzle: Puzzle, start: int, limits: object, used: object, chunk: int) -> Solution:
        assert used in (search, puzzle.search) and chunk in (7, puzzle.chunk)
        return record("kernel" if used is search else "here")

    monkeypatch.setattr(kernel, "searcher", searcher)
    monkeypatch.setattr(kernel, "best_device", lambda: "cuda")
    monkeypatch.setattr(solvers, "cores", lambda: 3)
    monkeypatch.setattr(solvers, "_solve_here", here)
    monkeypatch.setattr(solvers, "_solve_on_cores", lambda *arguments: record(f"{arguments[-1]} processes"))
    return names


@pytest.mark.parametrize(
    ("puzzle", "options", "expected"),
    [
        (Sha256Puzzle(b"any", 1.0), {}, ["here"]),
        (Sha256Puzzle(b"any", 6e6), {}, ["here"]),
        (Sha256Puzzle(b"any", 7e6), {}, ["3 processes"]),
        (Sha256Puzzle(b"any", 2.0**30 - 1), {}, ["3 processes"]),
        (Sha256Puzzle(b"any", 2.0**30), {}, ["PyTorch on cuda", "kernel"]),
        (Sha256Puzzle(b"any", 2.0**40, 4096), {"timeout": 3600}, ["PyTorch on cuda", "kernel"]),
        (Sha256Puzzle(b"any", 2.0**40), {"timeout": 60}, ["3 processes"]),
        (Sha256Puzzle(b"any", 2.0**40), {"max_hashes": 10**8}, ["3 processes"]),
        (Sha256Puzzle(b"any", 2.0**40), {"max_hashes": 10**5}, ["here"]),
        (HashcashPuzzle(b"any", 2.0**22), {}, ["here"]),
        (HashcashPuzzle(b"any", 2.0**40), {}, ["3 processes"]),
        (Argon2idPuzzle(b"any", 399.0), {}, ["here"]),
        (Argon2idPuzzle(b"any", 401.0), {}, ["3 processes"]),
        (Argon2idPuzzle(b"any", 101.0, memory=65536, passes=3), {}, ["3 processes"]),
        (Sha256Puzzle(b"any", 2.0**40), {"workers": 1}, ["here"]),
        (Sha256Puzzle(b"any", 1.0), {"workers": 2}, ["2 processes"]),
        (Sha256Puzzle(b"any", 1.0), {"device": "cpu", "workers": 2}, ["PyTorch on cpu", "kernel"]),
    ],
)
def test_what_is_chosen(
    puzzle: Puzzle,
    options: dict[str, Any],
    expected: list[str],
    chosen: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing compiled the module in C."""
    monkeypatch.setattr(Sha256Puzzle, "in_threads", False)
    solve(puzzle, **options)
    assert chosen == expected


@pytest.mark.parametrize(
    ("difficulty", "device", "options", "expected"),
    [
        (2.0**20 - 1, "cuda", {}, ["here"]),
        (2.0**20, "cuda", {}, ["3 processes"]),
        (2.0**30, "cuda", {}, ["PyTorch on cuda", "kernel"]),
        (2.0**40, "cpu", {}, ["3 processes"]),
        (2.0**40, "cpu", {"workers": 1}, ["here"]),
        (2.0**40, "cpu", {"device": "cpu"}, ["PyTorch on cpu", "kernel"]),
    ],
)
def test_what_is_chosen_where_c_searches_in_threads(
    difficulty: float,
    device: str,
    options: dict[str, Any],
    expected: list[str],
    chosen: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel, "best_device", lambda: device)
    solve(Sha256Puzzle(b"any", difficulty), **options)
    assert chosen == expected


def test_one_core_starts_no_processes(chosen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "cores", lambda: 1)
    solve(HashcashPuzzle(b"any", 2.0**40))
    assert chosen == ["here"]


def test_solving_goes_on_where_pytorch_cannot_compile_and_no_process_starts(
    chosen: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(error: Exception) -> Callable[..., Any]:
        def fail(*arguments: object) -> None:
            raise error

        return fail

    monkeypatch.setattr(kernel, "searcher", fails(RuntimeError("no compiler\nand more")))
    monkeypatch.setattr(solvers, "_solve_on_cores", fails(BrokenProcessPool("died")))
    with caplog.at_level(logging.WARNING):
        solve(HARD)
    assert chosen == ["here"]
    first, second = caplog.messages
    assert "(no compiler)" in first and "other processes" in second
    with pytest.raises(BrokenProcessPool):
        solve(HARD, workers=2)
    with pytest.raises(RuntimeError, match="no compiler"):
        solve(HARD, device="cpu")


def test_large_puzzles_are_solved_where_there_is_no_pytorch() -> None:
    result = run_python(
        "-c",
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from pow.puzzles import Sha256Puzzle, solve, solvers, verify\n"
        "solvers.COMPILES_FROM = 4000.0\n"
        "puzzle = Sha256Puzzle(b'challenge', 5000.0)\n"
        "assert verify(puzzle, solve(puzzle))\n"
        "assert solvers._compiled_search(puzzle) is None",
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


def test_small_puzzles_are_solved_without_pytorch() -> None:
    result = run_python(
        "-c",
        "import sys\n"
        "from pow.puzzles import HashcashPuzzle, Sha256Puzzle, solve, verify\n"
        "for kind in (HashcashPuzzle, Sha256Puzzle):\n"
        "    puzzle = kind(b'challenge', 5000.0)\n"
        "    assert verify(puzzle, solve(puzzle))\n"
        "print('torch' in sys.modules)",
    )
    assert result.stdout.strip() == "False", result.stderr
