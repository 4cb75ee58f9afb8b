"""Hardware solves puzzles at a rate, a power and a price; a bill says what a number of hashes takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pow.puzzles.settings import PuzzleSettings
from storage.identity import stable_id
from storage.typed import NonNegative, Positive, check_declared

SECONDS_AN_HOUR = 3600.0
WATTS_A_KILOWATT = 1000.0


@dataclass(frozen=True)
class Bill:
    """What solving takes: seconds, energy in kWh and money in USD; float64 `[n]` each."""

    seconds: np.ndarray
    kwh: np.ndarray
    usd: np.ndarray


@stable_id("hardware")
@dataclass(frozen=True)
class Hardware:
    """One device, or one core, that solves puzzles: a file in conf/hardware.

    Args:
        name: Name in reports and messages.
        hashes_per_second: Hash rate for each kind of puzzle at its standard settings (for argon2id 8 MiB
            and one pass).
        watts: Power while it hashes.
        usd_per_hour: Rent, or the price of electricity for hardware that is owned.
        source: Where the figures come from.
        measured: Whether this project measured the rates.

    Raises:
        ValueError: A figure is out of its range; the message names the option.
    """

    name: str
    hashes_per_second: Mapping[str, Positive]
    watts: NonNegative
    usd_per_hour: NonNegative
    source: str
    measured: bool = False

    def __post_init__(self) -> None:
        check_declared(self, "hardware")
        if not self.hashes_per_second:
            raise ValueError(f"hardware {self.name}: hashes_per_second must name a kind of puzzle")

    def rate(self, puzzle: PuzzleSettings, option: str = "hardware") -> float:
        """Return hashes per second for the puzzle; raise ValueError, naming `option`, without a figure."""
        if puzzle.name not in self.hashes_per_second:
            raise ValueError(
                f"hardware {self.name} has no hash rate for puzzle={puzzle.name}; "
                f"it has {', '.join(self.hashes_per_second)}; "
                f"+{option}.hashes_per_second.{puzzle.name}=RATE gives it one"
            )
        return self.hashes_per_second[puzzle.name] / puzzle.relative_work

    def bill(self, hashes: np.ndarray, puzzle: PuzzleSettings) -> Bill:
        """Return what it takes to compute `hashes` `[n]` of this puzzle."""
        seconds = np.asarray(hashes, dtype=np.float64) / self.rate(puzzle)
        hours = seconds / SECONDS_AN_HOUR
        return Bill(seconds, hours * self.watts / WATTS_A_KILOWATT, hours * self.usd_per_hour)
