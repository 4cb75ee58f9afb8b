"""Puzzles whose solutions are proof of work; one file a kind."""

from pow.puzzles.argon2id import Argon2idPuzzle
from pow.puzzles.base import Puzzle, Solution, verify
from pow.puzzles.hashcash import HashcashPuzzle
from pow.puzzles.settings import PuzzleSettings
from pow.puzzles.sha256 import Sha256Puzzle
from pow.puzzles.solvers import Unsolved, solve

KINDS: dict[str, type[Puzzle]] = {
    puzzle.kind: puzzle for puzzle in (Sha256Puzzle, HashcashPuzzle, Argon2idPuzzle)
}
"""Every kind of puzzle by the name that the config and the wire give it."""

__all__ = [
    "KINDS",
    "Argon2idPuzzle",
    "HashcashPuzzle",
    "Puzzle",
    "PuzzleSettings",
    "Sha256Puzzle",
    "Solution",
    "Unsolved",
    "solve",
    "verify",
]
