"""The search of the sha256 puzzle in C, against hashlib's loop."""

from __future__ import annotations

import hashlib
from threading import Thread
from time import perf_counter, sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow.puzzles import Sha256Puzzle, native, sha256, solve, verify
from pow.puzzles.base import HARDEST_PART, NONCES
from support.commands import run_python

HARD = Sha256Puzzle(b"never solved", HARDEST_PART)


@given(
    challenge=st.binary(min_size=1, max_size=40),
    difficulty=st.floats(1, 2000),
    start=st.integers(0, NONCES - 2000),
    count=st.integers(0, 2000),
    plainly=st.booleans(),
)
def test_it_finds_what_the_loop_finds(
    challenge: bytes, difficulty: float, start: int, count: int, plainly: bool
) -> None:
    puzzle = Sha256Puzzle(challenge, difficulty)
    found = native.search(puzzle.seed(0), puzzle.largest, start, count, plainly)
    assert found == puzzle.search_in_a_loop(0, start, count)


@pytest.mark.parametrize("plainly", [False, True])
def test_the_last_nonce_and_a_digest_equal_to_the_largest(plainly: bool) -> None:
    """The comparison is by the whole digest: one less than a nonce's own digest does not solve."""
    seed, nonce = HARD.seed(0), NONCES - 1
    digest = hashlib.sha256(seed + nonce.to_bytes(8, "big")).digest()
    less = (int.from_bytes(digest, "big") - 1).to_bytes(32, "big")
    assert native.search(seed, digest, nonce, 1, plainly) == nonce
    assert native.search(seed, less, nonce, 1, plainly) is None
    assert native.search(seed, b"\xff" * 32, nonce, 0, plainly) is None


@pytest.mark.parametrize("plainly", [False, True])
def test_where_the_low_word_ends_and_with_any_count(plainly: bool) -> None:
    """Neither the word's end nor a count that is no multiple of what is hashed side by side matters."""
    puzzle = Sha256Puzzle(b"a boundary", 4.0)
    for start in range(2**32 - 9, 2**32 + 2):
        for count in range(12):
            found = native.search(puzzle.seed(0), puzzle.largest, start, count, plainly)
            assert found == puzzle.search_in_a_loop(0, start, count)


def test_what_is_no_seed_is_refused() -> None:
    for seed, largest in ((b"short", b"\0" * 32), (b"\0" * 32, b"short")):
        with pytest.raises(ValueError, match="32 bytes"):
            native.search(seed, largest, 0, 1)


def test_solvers_use_it_and_find_the_same_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    puzzle = Sha256Puzzle(b"either way", 3000.0, 3)
    fast, many = solve(puzzle, workers=1), solve(puzzle, workers=3)
    monkeypatch.setattr(sha256, "search_natively", None)
    monkeypatch.setattr(Sha256Puzzle, "in_threads", False)
    assert solve(puzzle, workers=1) == fast
    assert many.nonces == fast.nonces and verify(puzzle, fast)


def test_other_threads_go_on_while_it_searches() -> None:
    searching = Thread(target=native.search, args=(HARD.seed(0), HARD.largest, 0, 1 << 22))
    searching.start()
    began, steps = perf_counter(), 0
    while searching.is_alive():
        sleep(0.001)
        steps += 1
    searching.join()
    assert steps > 10, f"{steps} steps in {perf_counter() - began} s"


def test_the_client_works_where_it_was_not_compiled() -> None:
    result = run_python(
        "-c",
        "import sys\n"
        "sys.modules['pow.puzzles.native'] = None\n"
        "from pow.puzzles import Sha256Puzzle, solve, verify\n"
        "puzzle = Sha256Puzzle(b'challenge', 500.0)\n"
        "assert not puzzle.in_threads and verify(puzzle, solve(puzzle))\n",
    )
    assert result.returncode == 0, result.stderr
