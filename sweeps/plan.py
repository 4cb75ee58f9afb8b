"""What a sweep has to do: its cells, what they share, and what of it is done already.

A sweep is made of units. `prepare` trains a victim and its teachers and prices honest users; `extract` runs
one extraction and prices all cells that share it; `price` only prices cells whose extraction is in the store.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from sweeps.composing import GridComposer
from sweeps.composition import CellData, InputError, compose_cell, load_cell_data
from sweeps.identity import Config, DataPrints, Identity
from sweeps.store import Store, identity_key

log = logging.getLogger(__name__)

Stage = Literal["prepare", "extract", "price"]


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
        needed: dict[str, Config | None] = {"victims": identity.victim, "teachers": identity.teachers}
        if identity.has_toll:
            needed["honest"] = identity.honest
        return {kind: what for kind, what in needed.items() if what is not None}

    @property
    def is_done(self) -> bool:
        """Whether the cell's result lies in its folder."""
        return finished_key(self.directory) == self.key


def finished_key(directory: Path) -> str | None:
    """The key of the cell whose result lies in a folder, if any does."""
    try:
        key: str | None = json.loads((directory / "result.json").read_text())["keys"]["cell"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key


@dataclass(frozen=True, eq=False)
class Unit:
    """What is run in one go. `needs` is the unit that must have ended well before."""

    id: str
    stage: Stage
    cells: tuple[PlannedCell, ...]
    needs: str | None = None


@dataclass(eq=False)
class Plan:
    """The cells of a sweep, each once, and the units that are missing."""

    directory: Path
    cells: list[PlannedCell]
    repeated: int = 0
    units: list[Unit] = field(default_factory=list)

    @property
    def done(self) -> list[PlannedCell]:
        """Cells whose results are there."""
        return [cell for cell in self.cells if cell.is_done]

    def count(self, stage: Stage) -> int:
        """How many units of a stage are missing."""
        return sum(unit.stage == stage for unit in self.units)


class Planner:
    """Makes a plan from the overrides of each cell; checks every kind of cell before anything runs."""

    def __init__(self, composer: GridComposer, directory: Path) -> None:
        self.composer = composer
        self.directory = directory
        self._prints: dict[str, DataPrints] = {}
        self._data: tuple[str, CellData] | None = None
        self._checked: set[str] = set()
        self._stored: dict[str, bool] = {}

    def plan(self, jobs: Sequence[Sequence[str]]) -> Plan:
        """The plan for a grid; raises InputError, one clear sentence, for what cannot work."""
        cells: dict[str, PlannedCell] = {}
        for number, overrides in enumerate(jobs):
            cell = self._cell(number, tuple(overrides))
            cells.setdefault(cell.key, cell)
        plan = Plan(self.directory, list(cells.values()), repeated=len(jobs) - len(cells))
        _check_folders(plan.cells)
        plan.units = self._units(plan.cells)
        return plan

    def _cell(self, number: int, overrides: tuple[str, ...]) -> PlannedCell:
        composed = self.composer.compose(overrides, number)
        identity = Identity(composed.config, self._data_prints(composed.config))
        self._check(composed.config)
        return PlannedCell(number, overrides, self.directory / composed.subdir, identity)

    def _data_prints(self, config: Config) -> DataPrints:
        key = _data_key(config)
        if key not in self._prints:
            self._prints[key] = self._load(config).prints
        return self._prints[key]

    def _load(self, config: Config) -> CellData:
        """The cell's images; those of the last cell are kept, since cells come in the grid's order."""
        key = _data_key(config)
        if self._data is None or self._data[0] != key:
            try:
                self._data = key, load_cell_data(config)
            except (ValueError, OSError) as error:
                raise InputError(str(error)) from error
        return self._data[1]

    def _check(self, config: Config) -> None:
        """Compose the cell once for each combination of choices; seeds cannot make it wrong."""
        telling = [name for name in config if name not in ("paths", "logger", "pow_calibration", "puzzle")]
        for names in (telling, ["dataset", "defense", "pow_calibration", "puzzle", "hardware", "privacy"]):
            key = json.dumps(_without_seeds({name: config[name] for name in names}), sort_keys=True)
            if key not in self._checked:
                self._checked.add(key)
                compose_cell(OmegaConf.create(config), progress=False, data=self._load(config))

    def _units(self, cells: list[PlannedCell]) -> list[Unit]:
        missing = [cell for cell in cells if not cell.is_done]
        together: dict[str, list[PlannedCell]] = {}
        for cell in missing:
            together.setdefault(cell.extraction_key, []).append(cell)
        prepare: dict[str, Unit] = {}
        units = []
        for key, sharing in together.items():
            needs = self._preparation(sharing, prepare)
            store = Store(Path(sharing[0].config["paths"]["store"]))
            stored = self._has(store, "extractions", sharing[0].identity.extraction)
            units.append(Unit(unit_of(key), "price" if stored else "extract", tuple(sharing), needs))
        return [*prepare.values(), *units]

    def _preparation(self, sharing: list[PlannedCell], prepare: dict[str, Unit]) -> str | None:
        """The unit that makes what these cells need and the store lacks, if it lacks anything."""
        cell = max(sharing, key=lambda cell: len(cell.preparation))
        store = Store(Path(cell.config["paths"]["store"]))
        if all(self._has(store, kind, identity) for kind, identity in cell.preparation.items()):
            return None
        victim = {kind: what for kind, what in cell.preparation.items() if kind != "honest"}
        name = f"prepare-{identity_key(victim)}"
        known = prepare.get(name)
        if known is None or len(known.cells[0].preparation) < len(cell.preparation):
            prepare[name] = Unit(name, "prepare", (cell,))
        return name

    def _has(self, store: Store, kind: str, identity: Config) -> bool:
        key = f"{store.root}/{kind}/{identity_key(identity)}"
        if key not in self._stored:
            self._stored[key] = store.has(kind, identity)
        return self._stored[key]


def unit_of(extraction_key: str) -> str:
    """The unit that runs an extraction and prices its cells."""
    return f"cells-{extraction_key}"


def _data_key(config: Config) -> str:
    return json.dumps(
        [config["dataset"], config["query_pool"], config["attack"]["other_pool"]], sort_keys=True
    )


def _without_seeds(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_seeds(value) for key, value in node.items() if key != "seed"}
    return node


def _check_folders(cells: list[PlannedCell]) -> None:
    """Raise InputError where two cells would leave their files in one folder, or one holds another's."""
    taken: dict[Path, PlannedCell] = {}
    for cell in cells:
        other = taken.setdefault(cell.directory, cell)
        if other is not cell:
            raise InputError(
                f"hydra.sweep.subdir gives {cell.directory.name} to two cells, {' '.join(other.overrides)} "
                f"and {' '.join(cell.overrides)}; it must hold ${{hydra.job.num}} or all that is swept"
            )
        if finished_key(cell.directory) not in (None, cell.key):
            raise InputError(
                f"{cell.directory} holds the result of another cell than {' '.join(cell.overrides)}: a "
                "sweep's folder takes one grid. Choose another hydra.sweep.dir; what is in the store is not "
                "computed again"
            )
