"""What tells cells apart that a table's labels do not: options of their configs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sweeps.report.results import CellResult

LABELS = ["dataset", "attack", "defense", "hardware"]
"""Columns that name what a cell is. Cells that agree in all but their seeds are repetitions."""

WHERE = ("paths", "trainer", "logger", "hydra")
"""Sections of the config that say where a cell runs and leaves its files, not what it measures."""

PRICE = ("pow_calibration", "puzzle", "hardware", "honest_hardware", "reference_client")
"""Sections that mean nothing to a cell without a toll."""


def varying_options(cells: Sequence[CellResult], labels: pd.DataFrame) -> pd.DataFrame:
    """A column for each option that tells cells with the same labels apart, a row a cell, values as text.

    `labels` has the columns LABELS and `seed`, a row a cell. An option that follows from others is left out,
    as are seeds and paths unless nothing else tells two cells of one seed apart. Raises ValueError where
    nothing does.
    """
    groups = list(labels.groupby(LABELS, sort=False).indices.values())
    found: list[dict[str, list[str]]] = []
    for group in groups:
        told = _told_apart([cells[number] for number in group], labels["seed"].iloc[group].tolist())
        if told is None:
            raise ValueError(_no_difference(labels.iloc[group]))
        found.append(told)
    columns = {name: [""] * len(cells) for name in dict.fromkeys(name for told in found for name in told)}
    for group, told in zip(groups, found, strict=True):
        for name, column in columns.items():
            for number, value in zip(
                group, told.get(name) or _shared([cells[n] for n in group], name), strict=True
            ):
                column[number] = value
    return pd.DataFrame(
        {name.removesuffix("._target_"): column for name, column in columns.items()}, index=labels.index
    )


def _told_apart(cells: Sequence[CellResult], seeds: Sequence[int]) -> dict[str, list[str]] | None:
    """Values of the options that tell cells with the same labels apart, or None where none do."""
    found: dict[str, list[str]] = {}
    differing = _differing(cells)
    for name in (name for name in differing if _is_substantial(name, cells[0])):
        _keep_if_it_splits(found, name, cells)
    for name in (name for name in differing if not _is_substantial(name, cells[0])):
        if _distinct(seeds, *found.values()) == len(cells):
            break
        _keep_if_it_splits(found, name, cells)
    return found if _distinct(seeds, *found.values()) == len(cells) else None


def _differing(cells: Sequence[CellResult]) -> list[str]:
    """Options with several values; one that a cell of an earlier version does not have is no difference."""
    names = dict.fromkeys(name for cell in cells for name in cell.options)
    return [name for name in names if len(set(_values(cells, name)) - {""}) > 1]


def _is_substantial(name: str, cell: CellResult) -> bool:
    """Whether an option says what is measured in a cell like this one."""
    section, last = name.split(".")[0], name.split(".")[-1]
    is_place = section in WHERE or last == "cache" or (last == "path" and section != "puzzle")
    is_seed = last.endswith("seed")
    return not is_place and not is_seed and (cell.has_toll or section not in PRICE)


def _keep_if_it_splits(found: dict[str, list[str]], name: str, cells: Sequence[CellResult]) -> None:
    values = _values(cells, name)
    if _distinct(*found.values(), values) > max(1, _distinct(*found.values())):
        found[name] = values


def _distinct(*columns: Sequence[Any]) -> int:
    return len(set(zip(*columns, strict=True)))


def _shared(cells: Sequence[CellResult], name: str) -> list[str]:
    """The value that cells agree in; nothing where they do not, as it tells them apart no further."""
    values = set(_values(cells, name)) - {""}
    return [values.pop() if len(values) == 1 else ""] * len(cells)


def _values(cells: Sequence[CellResult], name: str) -> list[str]:
    return [_text(cell.options[name]) if name in cell.options else "" for cell in cells]


def _text(value: Any) -> str:
    """A value as it stands in a table; of a dotted Python name the last part."""
    if value is None:
        return "null"
    if isinstance(value, str) and value.count(".") > 1 and not {" ", "/"} & set(value):
        return value.rsplit(".", 1)[-1]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _no_difference(labels: pd.DataFrame) -> str:
    first = labels[labels.duplicated("seed")].iloc[0]
    return (
        f"several cells are {first['attack']} on {first['dataset']} with defense {first['defense']} and "
        f"seed {first['seed']}, and no option in their config.yaml tells them apart: "
        "report their folders one by one"
    )
