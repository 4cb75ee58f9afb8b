"""Whether a run has arrived at Weights & Biases, in `wandb.json` beside what it is of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from storage.files import write_json

RECORD = "wandb.json"


@dataclass(frozen=True)
class Arrival:
    """A run: what W&B's `init` was told of it, where it lies if it was kept offline, whether it arrived."""

    told: Mapping[str, Any]
    offline: str | None = None
    arrived: bool = False

    @property
    def folder(self) -> Path | None:
        """The folder of an offline run, if that is still there."""
        path = Path(self.offline) if self.offline else None
        return path if path is not None and any(path.glob("run-*.wandb")) else None


def note(folder: Path, arrival: Arrival) -> None:
    """Put on record how a run stands."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, asdict(arrival))


def noted(folder: Path) -> Arrival | None:
    """The record in a folder; None where there is none, or a damaged one."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Arrival(**json.loads((folder / RECORD).read_text()))
    return None


def note_arrived(folder: Path) -> None:
    """Put on record that the run of a folder has arrived."""
    if (known := noted(folder)) is not None:
        note(folder, replace(known, arrived=True))
