"""What a sweep is made of: cells, and the units in which they are run.

`prepare` trains a victim and its teachers and prices honest users; `extract` runs one extraction and prices
all cells that share it; `price` only prices cells whose extraction is in the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiment.finished import finished_key
from experiment.naming import stack_name
from storage.store import identity_key
from sweeps.grid.listed import ListedCell, left_out_words

if TYPE_CHECKING:  # whose classes of defenses and measures need torch, which a status does without
    from experiment.keys import Config, Identity

Stage = Literal["prepare", "extract", "price"]

KEY_LENGTH = 8
"""Of a cell's key in the name of its folder."""


@dataclass(frozen=True, eq=False)
class PlannedCell:
    """A cell of the sweep: its number in the grid, what was overridden, and where it leaves its files."""

    number: int
    overrides: tuple[str, ...]
    directory: Path
    identity: Identity

    @property
    def config(self) -> Config:
        """The resolved config."""
        return self.identity.config

    @cached_property
    def key(self) -> str:
        """The cell's identity in result.json and in Weights & Biases."""
        return self.identity.cell_key

    @cached_property
    def extraction_key(self) -> str:
        """The key of the extraction in the store."""
        return identity_key(self.identity.extraction)

    @cached_property
    def preparation(self) -> dict[str, Config]:
        """What must be in the store before the cell can run: kinds of artefacts and their identities."""
        identity = self.identity
        needed: dict[str, Config | None] = {
            "victims": identity.victim,
            "teachers": identity.teachers,
            "auxiliary": identity.auxiliary,
        }
        if identity.has_toll:
            needed["honest"] = identity.honest
        return {kind: what for kind, what in needed.items() if what is not None}

    @cached_property
    def label(self) -> str:
        """The cell in a few words: attack, data set, defense, strength, seed."""
        config = self.config
        words = f"{config['attack']['name']} on {config['dataset']['name']}, {stack_name(config['defense'])}"
        if self.identity.has_toll:
            words += f" x{config['pow_calibration']['strength']:g}"
        return f"{words}, seed {config['seed']}"

    @property
    def is_done(self) -> bool:
        """Whether the cell's result lies in its folder."""
        return finished_key(self.directory) == self.key


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 cell`, `2,000 cells`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@dataclass(frozen=True, eq=False)
class Unit:
    """What is run in one go. `needs` is the unit that must have ended well before."""

    id: str
    stage: Stage
    cells: tuple[PlannedCell, ...]
    needs: str | None = None


@dataclass(eq=False)
class Plan:
    """The cells of a sweep, each once, and the units that are missing.

    `keys` are those of the cells as they were given, repeated ones too. `left_out` are cells of earlier
    commands in the sweep's folder that the grid does not have.
    """

    directory: Path
    cells: list[PlannedCell]
    repeated: int = 0
    units: list[Unit] = field(default_factory=list)
    left_out: list[ListedCell] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def done(self) -> list[PlannedCell]:
        """Cells whose results are there."""
        return [cell for cell in self.cells if cell.is_done]

    @property
    def left_out_words(self) -> str:
        """That finished cells are left out, in a line; empty where none is."""
        return left_out_words(self.left_out)

    def count(self, stage: Stage) -> int:
        """How many units of a stage are missing."""
        return sum(unit.stage == stage for unit in self.units)


def unit_of(extraction_key: str) -> str:
    """The unit that runs an extraction and prices its cells."""
    return f"cells-{extraction_key}"


def told_apart(identity: Identity) -> str:
    """What tells a cell from others of its attack, data set and defense: strength, seed, part of its key."""
    strength = f"x{identity.config['pow_calibration']['strength']:g}_" if identity.has_toll else ""
    return f"{strength}s{identity.config['seed']}_{identity.cell_key[:KEY_LENGTH]}"
