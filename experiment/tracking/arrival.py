"""Whether a run has arrived at Weights & Biases, in `wandb.json` beside what it is of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storage.files import write_json

RECORD = "wandb.json"


@dataclass(frozen=True)
class Arrival:
    """How a run stands.

    Attributes:
        told: What W&B's `init` was told of it.
        offline: The folder of an offline run; None where it was or is online, or was lost.
        online: Whether it was begun online, and was not lost.
        rows: How many rows of the curve `tollgate sync` has sent.
        substitute: The file of the stolen model in the store, once the cell has ended.
        arrived: Whether all of it has arrived.
    """

    told: Mapping[str, Any]
    offline: str | None = None
    online: bool = False
    rows: int = 0
    substitute: str | None = None
    arrived: bool = False

    def mark_offline_files(self) -> None:
        """Mark the offline files of this run as W&B does those that were sent, so that it does not, too."""
        if self.offline is None:
            return
        for file in Path(self.offline).parent.glob(f"offline-run-*-{self.told['id']}/run-*.wandb"):
            with contextlib.suppress(OSError):
                file.with_name(file.name + ".synced").touch()


def note(folder: Path, arrival: Arrival) -> None:
    """Put on record how a run stands."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, asdict(arrival))


def noted(folder: Path) -> Arrival | None:
    """The record in a folder; None where there is none, or a damaged one."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Arrival(**json.loads((folder / RECORD).read_text()))
    return None
