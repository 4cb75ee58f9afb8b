"""What a sweep has to do: its cells, what they share, and what of it is done already."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from experiment.compose import compose_resolved
from experiment.finished import result_key
from experiment.images import CellData, CellImages
from experiment.keys import Config, DataPrints, Identity
from experiment.options import check_config
from experiment.pricing.objective import check_objective
from storage.errors import InputError
from storage.store import Store, identity_key
from sweeps.grid.absent import without_absent_defenses
from sweeps.grid.compose import Composed
from sweeps.grid.listed import listed_before
from sweeps.grid.units import Plan, PlannedCell, Unit, told_apart, unit_of

KEPT_IMAGES = 3
"""Data sets, and pools, that are held at a time: most attacks share one of three pools."""


class Composer(Protocol):
    """Makes a cell's config; see GridComposer."""

    def compose(self, overrides: Sequence[str], number: int) -> Composed:
        """The config of the `number`-th cell, given by its overrides."""
        ...


class Planner:
    """Makes a plan from the overrides of each cell; checks every kind of cell before anything runs.

    Args:
        composer: of the cells' configs.
        directory: of the sweep.
        runs_here: whether the cells run on this machine, so that it must have the GPU that they want.
    """

    def __init__(self, composer: Composer, directory: Path, runs_here: bool = True) -> None:
        self.composer = composer
        self.directory = directory
        self.runs_here = runs_here
        self._prints: dict[str, DataPrints] = {}
        self._images = CellImages(KEPT_IMAGES)
        self._checked: set[tuple[str, ...]] = set()
        self._texts: dict[int, tuple[Any, str]] = {}
        self._stored: dict[str, bool] = {}
        self._before = listed_before(directory)
        self._folders = {cell.key: cell.directory for cell in self._before}

    def plan(self, jobs: Sequence[Sequence[str]]) -> Plan:
        """The plan for a grid; raises InputError, one clear sentence, for what cannot work."""
        cells: dict[str, PlannedCell] = {}
        keys: list[str] = []
        jobs = without_absent_defenses(jobs)
        with _uncollected():
            for number, overrides in enumerate(jobs):
                cell = self._cell(number, tuple(overrides))
                keys.append(cell.key)
                cells.setdefault(cell.key, cell)
        plan = Plan(self.directory, list(cells.values()), repeated=len(jobs) - len(cells), keys=keys)
        _check_folders(plan.cells)
        taken = {cell.directory for cell in plan.cells}
        plan.left_out = [one for one in self._before if one.directory not in taken and one.key not in cells]
        plan.units = self._units(plan.cells)
        return plan

    def _cell(self, number: int, overrides: tuple[str, ...]) -> PlannedCell:
        composed = self.composer.compose(overrides, number)
        _check_options(composed.config)
        identity = Identity(composed.config, self._data_prints(composed.config))
        self._check(composed.config)
        check_objective(composed.config)
        known = self._folders.get(identity.cell_key)  # a cell stays where it is, however folders are named
        directory = known or self.directory / composed.subdir(told_apart(identity))
        return PlannedCell(number, overrides, directory, identity)

    def _data_prints(self, config: Config) -> DataPrints:
        key = _data_key(config)
        if key not in self._prints:
            self._prints[key] = self._load(config).prints
        return self._prints[key]

    def _load(self, config: Config) -> CellData:
        try:
            return self._images.load(config)
        except (ValueError, OSError) as error:
            raise InputError(str(error)) from error

    def _check(self, config: Config) -> None:
        """Compose the cell once for each combination of choices; seeds cannot make it wrong."""
        silent = ("seed", "paths", "logger", "pow_calibration", "puzzle")
        telling = [name for name in config if name not in silent]
        for names in (telling, ["dataset", "defense", "pow_calibration", "puzzle", "hardware", "privacy"]):
            key = tuple(self._seedless(config[name]) for name in names)
            if key not in self._checked:
                self._checked.add(key)
                compose_resolved(self._checkable(config), progress=False, data=self._load(config))

    def _checkable(self, config: Config) -> Config:
        """The config, without a GPU that only the machine that runs the cell must have."""
        trainer = config["trainer"]
        if self.runs_here or trainer["accelerator"] != "gpu":
            return config
        return config | {"trainer": trainer | {"accelerator": "auto"}}

    def _seedless(self, section: Any) -> str:
        """A section without its seeds, as text; cells share most of their sections."""
        known = self._texts.get(id(section))
        if known is None or known[0] is not section:
            known = section, json.dumps(_without_seeds(section), sort_keys=True)
            self._texts[id(section)] = known
        return known[1]

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
        cell = max(sharing, key=lambda cell: cell.identity.has_toll)  # which needs honest users, too
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


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cyclic garbage meanwhile: it goes through thousands of configs, and none is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _data_key(config: Config) -> str:
    return json.dumps(
        [config["dataset"], config["query_pool"], config["attack"]["other_pool"]], sort_keys=True
    )


def _without_seeds(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_seeds(value) for key, value in node.items() if key != "seed"}
    return node


def _check_options(config: Config) -> None:
    try:
        check_config(config)
    except ValueError as error:
        raise InputError(str(error)) from error


def _check_folders(cells: list[PlannedCell]) -> None:
    """Raise InputError where two cells would leave their files in one folder, or one holds another's."""
    taken: dict[Path, PlannedCell] = {}
    for cell in cells:
        other = taken.setdefault(cell.directory, cell)
        if other is not cell:
            raise InputError(
                f"hydra.sweep.subdir gives {cell.directory.name} to two cells, {' '.join(other.overrides)} "
                f"and {' '.join(cell.overrides)}; it must hold ${{hydra.job.id}} or all that is swept"
            )
        if result_key(cell.directory) not in (None, cell.key):
            raise InputError(
                f"{cell.directory} holds the result of another cell than {' '.join(cell.overrides)}; "
                "hydra.sweep.subdir must hold ${hydra.job.id}, or hydra.sweep.dir be another folder; what "
                "is in the store is not computed again"
            )
