"""Puzzle settings say which puzzles a service asks for: a file in conf/puzzle."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import numpy as np

from pow.puzzles.base import KINDS, MOST_PARTS, Puzzle
from storage.identity import stable_id
from storage.own import named_like_ours
from storage.typed import Bounds


@dataclass(frozen=True)
class PuzzleSettings:
    """Settings from which puzzles of one kind are made.

    Args:
        kind: Class of the puzzles.
        parts: Number of sub-puzzles.
        options: The kind's own options by name.

    Raises:
        ValueError: A value is not valid; the message names the option.
    """

    kind: type[Puzzle]
    parts: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.parts) is not int or not 1 <= self.parts <= MOST_PARTS:
            raise ValueError(
                f"puzzle.parts must be a whole number between 1 and {MOST_PARTS}, not {self.parts!r}"
            )
        unknown = set(self.options) - {each.name for each in fields(self.kind)}
        if unknown:
            raise ValueError(f"puzzle.options: {self.name} has no {', '.join(sorted(unknown))}")
        self.puzzle(b"any", float(self.parts))  # refused if an option is wrong

    @property
    def name(self) -> str:
        """The kind's name."""
        return self.kind.kind

    def puzzle(self, challenge: bytes, difficulty: float) -> Puzzle:
        """Make a puzzle of `difficulty` expected hashes, or of one per part if that is more."""
        return self.kind(challenge, max(difficulty, float(self.parts)), self.parts, **self.options)

    def expected_hashes(self, difficulty: np.ndarray) -> np.ndarray:
        """Return the mean hashes of puzzles with these difficulties `[n]`, float64 `[n]`.

        They equal the difficulties, except for a kind that rounds down to whole bits.
        """
        return self.kind.granted(np.maximum(np.asarray(difficulty, dtype=np.float64), self.parts), self.parts)

    @property
    def relative_work(self) -> float:
        """Work of a hash with these options, over that with the kind's standard options."""
        return self.kind.relative_work(**self.options)


Parts = Annotated[int, Bounds(1, MOST_PARTS)]


@stable_id("puzzle")
def puzzle_settings(kind: str, parts: Parts = 1, options: Mapping[str, Any] | None = None) -> PuzzleSettings:
    """The settings that a file in conf/puzzle names.

    Args:
        kind: Dotted path of the puzzle's class.
        parts: Number of sub-puzzles.
        options: The kind's own options.

    Raises:
        ValueError: Naming the option, for a path that leads to no puzzle and for values that make no sense.
    """
    try:
        found = pkgutil.resolve_name(kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"puzzle.kind={kind} cannot be imported: {error}{named_like_ours(kind)}") from error
    if not (isinstance(found, type) and issubclass(found, Puzzle) and found in KINDS.values()):
        raise ValueError(f"puzzle.kind={kind} must be a class that derives from Puzzle and states its kind")
    return PuzzleSettings(found, parts, options or {})
