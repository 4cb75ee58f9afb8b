"""The cells of a sweep as its folder lists them, in `.tollgate/plan.json`: read without composing anything.

Folders stand there relative to the sweep's, so a sweep can be renamed, moved and copied. Cells of earlier
commands that the last one does not have are `left_out`: their results stay, but not in the sweep's report.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiment.finished import finished_key
from storage.errors import InputError
from storage.files import write_json

RECORDS = ".tollgate"
PLAN = f"{RECORDS}/plan.json"

NAMED = 3
"""Cells that a line about them names."""


@dataclass(frozen=True)
class ListedCell:
    """A cell as plan.json names it."""

    directory: Path
    key: str
    overrides: tuple[str, ...]
    extraction: str
    label: str
    budget: int

    @property
    def is_done(self) -> bool:
        """Whether the cell's result lies in its folder."""
        return finished_key(self.directory) == self.key


@dataclass(frozen=True)
class Listing:
    """The cells of the last command in the grid's order, and those of earlier ones that it does not have."""

    cells: list[ListedCell]
    left_out: list[ListedCell]


def read_listing(sweep: Path) -> Listing:
    """What the sweep's folder lists; raises InputError where the file is damaged, OSError where none is."""
    path = sweep / PLAN
    text = path.read_text()
    try:
        content = json.loads(text)
        return Listing(_cells(sweep, content["cells"]), _cells(sweep, content.get("left_out", [])))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; the sweep's command, given again, writes it anew") from error


def listed_before(sweep: Path) -> list[ListedCell]:
    """All cells that the sweep has or had; none of a sweep that is new, or whose list is damaged."""
    try:
        listing = read_listing(sweep)
    except (InputError, OSError):
        return []
    return [*listing.cells, *listing.left_out]


def write_listing(sweep: Path, listing: Listing) -> None:
    """Put the cells on record; the folder `.tollgate` exists."""
    write_json(
        sweep / PLAN,
        {
            "cells": [_row(sweep, cell) for cell in listing.cells],
            "left_out": [_row(sweep, cell) for cell in listing.left_out],
        },
    )


def listings_below(directory: Path) -> Iterator[Listing]:
    """What the sweeps in a folder list; damaged lists are passed over."""
    for plan in sorted(directory.rglob(PLAN)):
        with contextlib.suppress(InputError, OSError):
            yield read_listing(plan.parents[1])


def left_out_below(directories: Iterable[Path]) -> list[ListedCell]:
    """The cells that the sweeps in the folders leave out."""
    return [
        cell
        for directory in directories
        for listing in listings_below(directory)
        for cell in listing.left_out
    ]


def left_out_words(cells: Iterable[ListedCell]) -> str:
    """That finished cells are left out, in a line; empty where none is."""
    labels = [cell.label for cell in cells if cell.is_done]
    if not labels:
        return ""
    more = f"; and {len(labels) - NAMED:,} more" if len(labels) > NAMED else ""
    said = "cell of an earlier command is" if len(labels) == 1 else "cells of earlier commands are"
    return f"{len(labels):,} finished {said} not in this grid, and left out of its report: " + (
        "; ".join(labels[:NAMED]) + more
    )


def _cells(sweep: Path, rows: list[dict[str, Any]]) -> list[ListedCell]:
    return [
        ListedCell(**row | {"directory": sweep / row["directory"], "overrides": tuple(row["overrides"])})
        for row in rows
    ]


def _row(sweep: Path, cell: ListedCell) -> dict[str, Any]:
    return asdict(cell) | {"directory": os.path.relpath(cell.directory, sweep)}
