"""What all artifacts of a cell have in common: each is in the store, or is made and put there."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from experiment.components import Cell
from experiment.keys import Config
from storage.files import write_json
from storage.store import TOOK, Entry, Store

Loaded = TypeVar("Loaded")


@dataclass(frozen=True, eq=False)
class Artifact(ABC, Generic[Loaded]):
    """An artifact of a cell: made once for all cells whose configs agree in its identity.

    A subclass adds what it is made of, such as the victim, as further fields.

    Attributes:
        kind: The folder of the store in which artifacts of this kind lie.
        resumable: Whether `make` goes on with what a killed `make` has left.
    """

    cell: Cell

    kind: ClassVar[str]
    resumable: ClassVar[bool] = False

    @property
    def store(self) -> Store:
        """The store that the cell's config names."""
        return Store(Path(self.cell.config["paths"]["store"]))

    @property
    @abstractmethod
    def identity(self) -> Config:
        """All that the artifact depends on; its hash is the key of the entry."""

    @abstractmethod
    def make(self, directory: Path) -> None:
        """Make the artifact and leave its files in `directory`."""

    @abstractmethod
    def load(self, entry: Entry) -> Loaded:
        """The artifact from the files of its entry."""

    def get(self) -> Loaded:
        """The artifact from the store, made first if the store does not have it."""
        return self.load(self.store.get(self.kind, self.identity, self._timed, resumable=self.resumable))

    def _timed(self, directory: Path) -> None:
        """Make the artifact, and leave beside it how long that took, by which later ones are estimated."""
        started = time.perf_counter()
        self.make(directory)
        write_json(directory / TOOK, {"seconds": time.perf_counter() - started})


def read_result(entry: Entry) -> dict[str, Any]:
    """The figures that `make` has left in `result.json`."""
    content: dict[str, Any] = json.loads((entry.path / "result.json").read_text())
    return content
