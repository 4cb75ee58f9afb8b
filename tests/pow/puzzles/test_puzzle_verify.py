"""What verify accepts is what a few lines of hashlib accept, whatever it is given."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from random import Random
from typing import Any, NoReturn

import numpy as np
import pytest
from argon2.low_level import Type, hash_secret_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from pow.puzzles import Argon2idPuzzle, HashcashPuzzle, Puzzle, Sha256Puzzle, Solution, solve, verify

deterministic = settings(derandomize=True, deadline=None)

EASY: list[Puzzle] = [
    Sha256Puzzle(b"challenge", 12.3, 3),
    HashcashPuzzle(b"challenge", 12.3, 3, date="261124"),
    Argon2idPuzzle(b"challenge", 12.3, 3, memory=9, passes=2),
]
HARD: list[Puzzle] = [
    Sha256Puzzle(b"challenge", 40_000.0, 2),
    HashcashPuzzle(b"challenge", 40_000.0, 2),
    Argon2idPuzzle(b"challenge", 900.0, 2, memory=8),
]
"""Hard enough that no nonce for another puzzle wins by chance, with these seeds."""


def kinds(puzzles: list[Puzzle]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("puzzle", puzzles, ids=lambda puzzle: puzzle.kind)


def independent_seed(puzzle: Puzzle, part: int) -> bytes:
    name = puzzle.kind.encode()
    head = b"tollgate puzzle 1:" + bytes([len(name)]) + name
    return hashlib.sha256(
        head + struct.pack(">dII", puzzle.difficulty, part, puzzle.parts) + puzzle.challenge
    ).digest()


def digest(puzzle: Puzzle, part: int, nonce: int) -> bytes:
    seed, word = independent_seed(puzzle, part), nonce.to_bytes(8, "big")
    if isinstance(puzzle, Argon2idPuzzle):
        return hash_secret_raw(
            word,
            seed,
            time_cost=puzzle.passes,
            memory_cost=puzzle.memory,
            parallelism=puzzle.lanes,
            hash_len=32,
            type=Type.ID,
        )
    if isinstance(puzzle, HashcashPuzzle):
        stamp = f"1:{puzzle.bits}:{puzzle.date}:{seed.hex()}::0:{nonce:x}"
        return hashlib.sha1(stamp.encode()).digest()
    return hashlib.sha256(seed + word).digest()


def wins(puzzle: Puzzle, part: int, nonce: int) -> bool:
    found = digest(puzzle, part, nonce)
    number = int.from_bytes(found, "big")
    if isinstance(puzzle, HashcashPuzzle):
        zeros = 8 * len(found) - len(f"{number:b}") if number else 8 * len(found)
        return zeros >= puzzle.bits
    # Below floor(2 ** 256 / difficulty of a part): a whole number and one more still fit.
    return Fraction(number + 1) * Fraction(puzzle.difficulty) <= 2**256 * puzzle.parts


def independent_verify(puzzle: Puzzle, solution: Any) -> bool:
    nonces = solution.nonces if type(solution) is Solution else solution
    return (
        type(nonces) in (tuple, list)
        and len(nonces) == puzzle.parts
        and all(type(nonce) is int and 0 <= nonce <= 2**64 - 1 for nonce in nonces)
        and all(wins(puzzle, part, nonce) for part, nonce in enumerate(nonces))
    )


@kinds(EASY)
def test_each_digest_is_judged_as_independently(puzzle: Puzzle) -> None:
    random = Random(1)
    edges = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
    nonces = [*edges, *(random.randrange(2**64) for _ in range(300))]
    found = [puzzle.accepts(part, nonce) for part in range(puzzle.parts) for nonce in nonces]
    assert found == [wins(puzzle, part, nonce) for part in range(puzzle.parts) for nonce in nonces]
    assert any(found) and not all(found)


@kinds([*EASY, *HARD])
def test_what_solve_finds_is_accepted_in_every_form(puzzle: Puzzle) -> None:
    solution = solve(puzzle)
    assert independent_verify(puzzle, solution)
    nonces = list(solution.nonces)
    for form in (solution, solution.nonces, nonces, Solution(solution.nonces, -1), json.loads(str(nonces))):
        assert verify(puzzle, form)


def mutations(nonces: list[int], random: Random) -> Iterator[Any]:
    """Each way of spoiling the list, once."""
    i, j = random.randrange(len(nonces)), random.randrange(len(nonces))
    nonce = nonces[i]
    yield [*nonces[:i], *nonces[i + 1 :]]
    yield [*nonces, nonce]
    yield nonces[::-1]
    swapped = list(nonces)
    swapped[i], swapped[j] = swapped[j], swapped[i]
    yield swapped
    for other in (
        nonce ^ 1 << random.randrange(64),
        nonce + 1,
        nonce - 1,
        -nonce,
        nonce + 2**64,
        nonce - 2**64,
        ~nonce,
        random.randrange(2**64),
        float(nonce),
        str(nonce),
        hex(nonce),
        nonce.to_bytes(8, "big"),
        np.uint64(nonce),
        [nonce],
        None,
        True,
    ):
        yield [*nonces[:i], other, *nonces[i + 1 :]]


@kinds(EASY)
def test_spoilt_solutions_are_judged_as_independently(puzzle: Puzzle) -> None:
    random, accepted, refused = Random(2), 0, 0
    for seed in range(30):
        solution = solve(puzzle, seed=seed)
        for spoilt in mutations(list(solution.nonces), random):
            expected = independent_verify(puzzle, spoilt)
            assert verify(puzzle, spoilt) is expected
            assert verify(puzzle, Solution(tuple(spoilt), solution.tried)) is expected
            accepted, refused = accepted + expected, refused + (not expected)
    # Where a part takes four hashes, a changed nonce sometimes wins as well.
    assert accepted > 0 and refused > 300


@kinds(HARD)
def test_spoilt_solutions_of_hard_puzzles_are_refused(puzzle: Puzzle) -> None:
    random, nonces = Random(3), list(solve(puzzle).nonces)
    for _ in range(20):
        for spoilt in mutations(nonces, random):
            assert verify(puzzle, spoilt) is (spoilt == nonces and all(type(n) is int for n in spoilt))


def others(puzzle: Puzzle) -> list[Puzzle]:
    """Puzzles as near to this as can be, and no harder."""
    near: list[dict[str, Any]] = [
        {"challenge": puzzle.challenge + b"\0"},
        {"challenge": b"C" + puzzle.challenge[1:]},
        {"difficulty": puzzle.difficulty - 1},
        {"difficulty": puzzle.difficulty + 1e-9},
    ]
    if isinstance(puzzle, Argon2idPuzzle):
        near += [{"memory": 9}, {"memory": 16}, {"passes": 2}]
    if isinstance(puzzle, HashcashPuzzle):
        near += [{"date": "000102"}]
    same: dict[str, Any] = {
        "challenge": puzzle.challenge,
        "difficulty": puzzle.difficulty,
        "parts": puzzle.parts,
    }
    return [dataclasses.replace(puzzle, **change) for change in near] + [
        kind(**same) for kind in (Sha256Puzzle, HashcashPuzzle, Argon2idPuzzle) if kind is not type(puzzle)
    ]


@kinds(HARD)
def test_a_solution_serves_no_other_puzzle(puzzle: Puzzle) -> None:
    solution = solve(puzzle)
    for other in others(puzzle):
        assert other != puzzle
        assert not verify(other, solution), other
    for parts in (1, 3):
        other = dataclasses.replace(puzzle, difficulty=puzzle.difficulty * parts / 2, parts=parts)
        assert not verify(other, (solution.nonces * 2)[:parts])


def refuse(*arguments: object) -> NoReturn:
    raise AssertionError("never called")


class AnyNumber(int):
    __le__ = __lt__ = __ge__ = __gt__ = __eq__ = lambda *_: True
    __hash__ = int.__hash__


class AnyList(list[int]):
    __len__ = lambda _: 2  # noqa: E731


class AnySolution(Solution):
    """What may bring methods of its own."""


class Hostile:
    __len__ = __iter__ = __getitem__ = __eq__ = __bool__ = __int__ = __index__ = refuse
    __hash__ = __repr__ = __getattr__ = refuse


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 2**64),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    st.builds(AnyNumber),
    st.builds(Hostile),
)


def three(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=3, max_size=3)


junk = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(), inner, max_size=3),
        st.builds(Solution, inner, inner),
    ),
)


@kinds(EASY)
@deterministic
@given(nonsense=junk | three(scalars) | three(st.integers(0, 2**64)))
def test_junk_is_refused_and_nothing_raises(puzzle: Puzzle, nonsense: Any) -> None:
    assert verify(puzzle, nonsense) is independent_verify(puzzle, nonsense)


@kinds(HARD)
@pytest.mark.parametrize(
    "form",
    [
        lambda nonces: AnyList(nonces),
        lambda nonces: [AnyNumber(nonce) for nonce in nonces],
        lambda nonces: AnySolution(nonces, 1),
        lambda nonces: Solution(Solution(nonces, 1), 1),  # type: ignore[arg-type]
        lambda nonces: dict.fromkeys(nonces),
        lambda nonces: set(nonces),
        lambda nonces: iter(nonces),
        lambda nonces: np.array(nonces, dtype=np.uint64),
        lambda nonces: [list(nonces)],
        lambda nonces: json.loads(f'{{"nonces": {list(nonces)}}}'),
        lambda nonces: json.dumps(list(nonces)),
        lambda nonces: [float(nonces[0]), float("nan")],
        lambda nonces: [10**5000, *nonces[1:]],
        lambda nonces: Solution,
    ],
)
def test_winning_nonces_in_the_wrong_form_are_refused(
    puzzle: Puzzle, form: Callable[[tuple[int, ...]], object]
) -> None:
    nonces = solve(puzzle).nonces
    assert verify(puzzle, nonces)
    assert verify(puzzle, form(nonces)) is False


def test_nothing_is_hashed_for_what_is_no_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sha256Puzzle, "search", refuse)
    puzzle = Sha256Puzzle(b"challenge", 100.0, 2)
    for spoilt in ([1], [1, 2, 3], [1, -2], [1, 2**64], [1, None], [1, 2.0]):
        assert not verify(puzzle, spoilt)
    with pytest.raises(AssertionError, match="never called"):
        verify(puzzle, [1, 2])


def test_argon2id_finds_the_first_winner_of_many_lanes_and_passes() -> None:
    puzzle = Argon2idPuzzle(b"challenge", 5.0, memory=32, passes=3, lanes=4)
    solution = solve(puzzle)
    assert wins(puzzle, 0, solution.nonces[0]) and solution.tried > 1
    assert not any(wins(puzzle, 0, solution.nonces[0] - back) for back in range(1, solution.tried))
