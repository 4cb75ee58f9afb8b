"""Puzzles: targets against exact fractions, what is granted, and how many tries solving takes."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pow.puzzles import (
    KINDS,
    Argon2idPuzzle,
    HashcashPuzzle,
    Puzzle,
    PuzzleSettings,
    Sha256Puzzle,
    solve,
    verify,
)
from storage.options import instantiate
from support.commands import ROOT

CONFIG = ROOT / "conf" / "puzzle"
TINY: Mapping[str, dict[str, Any]] = {"sha256": {}, "hashcash": {}, "argon2id": {"memory": 8}}

deterministic = settings(derandomize=True, deadline=None)
parts_and_difficulties = st.integers(1, 64).flatmap(
    lambda parts: st.tuples(
        st.just(parts), st.floats(0, 56).map(lambda bits: min(max(1.0, 2.0**bits), 2.0**56) * parts)
    )
)


def exact_target(bits: int, parts: int, difficulty: float) -> int:
    return math.floor(Fraction(2**bits) * parts / Fraction(difficulty))


@deterministic
@given(parts_and_difficulties)
def test_targets_are_exact(puzzle: tuple[int, float]) -> None:
    parts, difficulty = puzzle
    for kind in ("sha256", "argon2id"):
        made = KINDS[kind](b"any", difficulty, parts)
        assert made.target == exact_target(256, parts, difficulty)
        assert int.from_bytes(made.largest, "big") == made.target - 1 and len(made.largest) == 32


@pytest.mark.parametrize(
    ("difficulty", "parts", "target"),
    [
        (1.0, 1, 2**256),
        (2.0, 1, 2**255),
        (1.5, 1, 2**257 // 3),
        (3, 3, 2**256),
        (Fraction(5, 2), 1, 2**257 // 5),
        (np.float64(2.0**56), 1, 2**200),
        (10**6, 7, 7 * 2**256 // 10**6),
        (0.1 * 70, 7, exact_target(256, 7, 0.1 * 70)),
    ],
)
def test_targets_of_a_few_difficulties(difficulty: float, parts: int, target: int) -> None:
    assert Sha256Puzzle(b"any", difficulty, parts).target == target


@deterministic
@given(parts_and_difficulties)
def test_expected_hashes_are_the_difficulty_or_at_most_half_less(puzzle: tuple[int, float]) -> None:
    parts, difficulty = puzzle
    for kind in ("sha256", "argon2id"):
        assert KINDS[kind](b"any", difficulty, parts).expected_hashes == pytest.approx(difficulty, rel=1e-9)
    stamps = HashcashPuzzle(b"any", difficulty, parts)
    assert difficulty / 2 < stamps.expected_hashes <= difficulty
    assert stamps.expected_hashes == parts * 2**stamps.bits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [1, 3, 7, 16, 49])
def test_granted_is_what_each_puzzle_expects(kind: str, parts: int) -> None:
    powers = parts * 2.0 ** np.arange(57)
    drawn = parts * 2.0 ** np.random.default_rng(parts).uniform(0, 56, 100)
    difficulty = np.concatenate(
        [powers, np.nextafter(powers[1:], 0), np.nextafter(powers[:-1], np.inf), drawn]
    )
    expected = [KINDS[kind](b"any", value, parts).expected_hashes for value in difficulty.tolist()]
    assert KINDS[kind].granted(difficulty, parts).tolist() == pytest.approx(expected, rel=1e-12)
    options = PuzzleSettings(KINDS[kind], parts)
    assert options.expected_hashes(difficulty).tolist() == pytest.approx(expected, rel=1e-12)
    assert options.expected_hashes(np.array([0.0, parts / 2])).tolist() == [parts, parts]
    assert options.puzzle(b"any", 0.5).expected_hashes == parts


@pytest.mark.parametrize("path", sorted(CONFIG.glob("[!_]*.yaml")), ids=lambda path: path.stem)
def test_every_option_of_the_config_makes_puzzles(path: Path) -> None:
    with initialize_config_dir(str(CONFIG.parent), version_base="1.3"):
        options = instantiate(compose("config", [f"puzzle={path.stem}"]).puzzle, "puzzle")
    assert isinstance(options, PuzzleSettings)
    assert options.name == path.stem and options.kind is KINDS[path.stem]
    assert options.relative_work == 1
    puzzle = options.puzzle(b"challenge", 3.5)
    assert verify(puzzle, solve(puzzle))


def test_work_of_a_hash_in_proportion_to_the_memory_filled() -> None:
    options = PuzzleSettings(KINDS["argon2id"], options={"memory": 65536, "passes": 3})
    assert options.relative_work == 24
    assert options.puzzle(b"any", 1.0).chunk == 1


def test_no_two_puzzles_share_a_seed() -> None:
    puzzles = [
        kind(challenge, difficulty, parts)
        for kind in KINDS.values()
        for challenge in (b"a", b"b", b"aa", b"\0a")
        for difficulty in (100.0, math.nextafter(100.0, 101), 200.0)
        for parts in (1, 2)
    ]
    seeds = [puzzle.seed(part) for puzzle in puzzles for part in range(puzzle.parts)]
    assert len(set(seeds)) == len(seeds) and {len(seed) for seed in seeds} == {32}


def test_equal_difficulties_of_any_type_make_one_puzzle() -> None:
    hundreds: list[Any] = [100, 100.0, np.float32(100), np.int64(100), Fraction(100)]
    puzzles = [Sha256Puzzle(b"a", hundred) for hundred in hundreds]
    assert len(set(puzzles)) == len({puzzle.seed(0) for puzzle in puzzles}) == 1
    assert pickle.loads(pickle.dumps(puzzles[0])) == puzzles[1]


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        *(("sha256", "challenge", value) for value in (b"", "text", None, bytearray(b"a"))),
        *(("sha256", "parts", value) for value in (0, -1, 4097, 1.0, True, None, "1")),
        *(
            ("sha256", "difficulty", value)
            for value in (0.99, 0, -5.0, 2.0**56 * 1.0001, math.nan, math.inf, True, "9", None, 1j, 10**400)
        ),
        *(("hashcash", "date", value) for value in ("", "991301", "990230", "9901011200", "99010a", 990101)),
        ("hashcash", "date", "٢٦٠٣١٠"),
        *(("argon2id", "memory", value) for value in (7, 2**21 + 1, 64.0, True, None)),
        *(("argon2id", "passes", value) for value in (0, 101, 1.0)),
        *(("argon2id", "lanes", value) for value in (0, 65, True, "1")),
    ],
)
def test_senseless_options_are_named(kind: str, option: str, value: Any) -> None:
    options: dict[str, Any] = {"challenge": b"any", "difficulty": 9.0} | {option: value}
    with pytest.raises(ValueError, match=rf"puzzle\.{option} must be "):
        KINDS[kind](**options)


def test_a_part_is_at_least_one_hash_and_memory_at_least_eight_blocks_a_lane() -> None:
    with pytest.raises(ValueError, match=r"puzzle\.difficulty .* each of 3 parts; it is 2.5"):
        Sha256Puzzle(b"any", 2.5, 3)
    with pytest.raises(ValueError, match=r"puzzle\.memory must be a whole number between 32 "):
        Argon2idPuzzle(b"any", 2.5, memory=31, lanes=4)


def tries(kind: str, number: int, difficulty: float, parts: int = 1) -> np.ndarray:
    """Hashes that each of so many verified puzzles took."""
    took = np.empty(number)
    for i in range(number):
        puzzle = KINDS[kind](b"%d" % i, difficulty, parts, **TINY[kind])
        solution = solve(puzzle)
        assert verify(puzzle, solution)
        took[i] = solution.tried
    return took


def test_tries_of_many_puzzles_follow_the_geometric_law() -> None:
    took = tries("sha256", 100_000, 24.7)
    assert took.mean() == pytest.approx(24.7, rel=0.01)
    law = stats.geom(1 / 24.7)
    edges = np.append(np.arange(0, 121, 4), np.inf)
    found, _ = np.histogram(took, edges + 0.5)
    assert stats.chisquare(found, np.diff(law.cdf(edges)) * len(took)).pvalue > 0.001


@pytest.mark.parametrize(("kind", "difficulty", "mean"), [("hashcash", 100.0, 64.0), ("argon2id", 3.7, 3.7)])
def test_mean_tries_of_the_other_kinds(kind: str, difficulty: float, mean: float) -> None:
    took = tries(kind, 2000, difficulty)
    puzzle = KINDS[kind](b"any", difficulty)
    assert puzzle.expected_hashes == pytest.approx(mean, rel=1e-12)
    deviation = puzzle.relative_spread * mean / math.sqrt(len(took))
    assert abs(took.mean() - mean) < 3 * deviation


def test_sub_puzzles_cut_the_spread() -> None:
    whole, split = tries("sha256", 2000, 400.0), tries("sha256", 2000, 400.0, 16)
    for took, parts, tolerance in ((whole, 1, 0.06), (split, 16, 0.015)):
        assert took.mean() == pytest.approx(400, rel=tolerance)
        spread = Sha256Puzzle(b"any", 400.0, parts).relative_spread
        assert took.std() / took.mean() == pytest.approx(spread, rel=0.06)
    assert split.std() / whole.std() == pytest.approx(1 / 4, rel=0.1)


def test_spread_of_a_sum_of_geometric_numbers() -> None:
    puzzle: Puzzle = Sha256Puzzle(b"any", 60.0, 4)
    assert puzzle.relative_spread == pytest.approx(2 * stats.geom(1 / 15).std() / 60, rel=1e-12)
    assert Sha256Puzzle(b"any", 4.0, 4).relative_spread == 0
