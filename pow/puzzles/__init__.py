"""Puzzles whose solutions are proof of work; one file a kind."""

# KINDS has them in the order of their definition: what most machines solve comes first.
from pow.puzzles.sha256 import Sha256Puzzle  # isort: skip
from pow.puzzles.hashcash import HashcashPuzzle  # isort: skip
from pow.puzzles.argon2id import Argon2idPuzzle
from pow.puzzles.base import KINDS, Puzzle, Solution, verify
from pow.puzzles.settings import PuzzleSettings, puzzle_settings
from pow.puzzles.solvers import Unsolved, solve

__all__ = [
    "KINDS",
    "Argon2idPuzzle",
    "HashcashPuzzle",
    "Puzzle",
    "PuzzleSettings",
    "Sha256Puzzle",
    "Solution",
    "Unsolved",
    "puzzle_settings",
    "solve",
    "verify",
]
