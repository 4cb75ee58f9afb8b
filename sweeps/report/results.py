"""Finished cells, read from their folders."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sweeps.grid.listed import listings_below

log = logging.getLogger(__name__)

PACKED = ("right", "agrees")
"""Columns with a bit for each test image: whether the substitute agrees with the truth, and the victim."""

HITS = ("images", *PACKED)

STANDARD_PRICE = {"calibration": "progressive", "strength": 1.0, "puzzle": "sha256", "scope": "account"}
"""The defaults of conf/, which a defense's name does not say."""


@dataclass(frozen=True, eq=False)
class CellResult:
    """A finished cell: its folder, the content of result.json, its curve, and its config.

    `options` is config.yaml with dotted names, `attack.budget` say; empty where the file is missing. `hits`
    has the columns HITS, a row a row of the curve: which test images each round got right; empty where no
    `test_images.csv` tells.
    """

    path: Path
    result: dict[str, Any]
    curve: pd.DataFrame
    options: Mapping[str, Any] = field(default_factory=dict)
    hits: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def defense(self) -> str:
        """The defense, with what of its price is not standard."""
        return self._defense(list(STANDARD_PRICE))

    @property
    def toll(self) -> str:
        """The defense without its strength: a family of defenses that differ in nothing else."""
        return self._defense([name for name in STANDARD_PRICE if name != "strength"])

    def _defense(self, names: list[str]) -> str:
        result = self.result
        unusual = [name for name in names if result.get(name) not in (None, STANDARD_PRICE[name])]
        labels = [f"x{result[name]:g}" if name == "strength" else result[name] for name in unusual]
        return " ".join([result["defense"], *labels])

    @property
    def attack(self) -> str:
        """The attack, with its accounts and its limit where it has them."""
        result = self.result
        accounts = [f"{result['accounts']:,} accounts"] if result.get("accounts", 1) > 1 else []
        limit = [f"up to ${result['give_up_usd']:g}"] if result.get("give_up_usd") is not None else []
        return ", ".join([result["attack"], *accounts, *limit])

    @property
    def has_toll(self) -> bool:
        """Whether answers were paid for with work; cells of early versions do not say how."""
        return self.result.get("calibration", self.result["defense"]) not in (None, "none")


def load_cells(directories: Iterable[Path]) -> list[CellResult]:
    """The finished cells below the directories, in the order of their grids, others by their folders' names.

    Those whose files are damaged or lost are left out, and said; and so are those that their sweep's last
    command does not have (see `left_out_below`).
    """
    directories = list(directories)
    found = {path.parent for directory in directories for path in directory.rglob("result.json")}
    listings = [listing for directory in directories for listing in listings_below(directory)]
    found -= {cell.directory for listing in listings for cell in listing.left_out}
    in_order = _in_order(found, [cell.directory for listing in listings for cell in listing.cells])
    results = {path: result for path in in_order if (result := _result(path))}
    curves = _read_curves(list(results))
    return [
        CellResult(path, result, curve, _options(path), _hits(path, curve))
        for (path, result), curve in zip(results.items(), curves, strict=True)
    ]


def _result(path: Path) -> dict[str, Any] | None:
    """What a cell's result.json holds; None where it or the curve is no more than a piece."""
    try:
        result: dict[str, Any] = json.loads((path / "result.json").read_text())
        whole = isinstance(result, dict) and (path / "curve.csv").stat().st_size > 0
        _options(path)
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        whole = False
    if not whole:
        log.warning("%s is left out: its result.json, curve.csv or config.yaml is damaged or lost", path)
        return None
    return result


def _in_order(found: Iterable[Path], listed: Sequence[Path]) -> list[Path]:
    """Folders in the order of the list, and then those that it lacks, by name."""
    places = {path: place for place, path in enumerate(listed)}
    return sorted(found, key=lambda path: (places.get(path, len(places)), _natural(path)))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Parts of a name such that x4 comes before x16."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _read_curves(paths: Sequence[Path]) -> list[pd.DataFrame]:
    """The curve in each folder. Those with the same columns are parsed together, which is much faster."""
    texts = [(path / "curve.csv").read_text().partition("\n") for path in paths]
    curves: list[pd.DataFrame] = [pd.DataFrame()] * len(paths)
    for header in {head for head, _, _ in texts}:
        rows = [
            f"{number},{row}"
            for number, (head, _, body) in enumerate(texts)
            if head == header
            for row in body.splitlines()
        ]
        together = pd.read_csv(io.StringIO("\n".join([f"cell,{header}", *rows])))
        for number, curve in together.groupby("cell"):
            curves[int(str(number))] = curve.drop(columns="cell").reset_index(drop=True)
    return curves


def _hits(path: Path, curve: pd.DataFrame) -> pd.DataFrame:
    """Which test images each row of a curve got right; empty where no whole file tells."""
    try:
        told = pd.read_csv(path / "test_images.csv").set_index("round")
        found = told.loc[curve["round"], list(HITS)].reset_index(drop=True)
        return found.assign(**{name: found[name].map(base64.b64decode) for name in PACKED})
    except (OSError, ValueError, KeyError, TypeError):
        return pd.DataFrame(index=curve.index)


def _options(path: Path) -> dict[str, Any]:
    """The options in a cell's config.yaml by their dotted names.

    Cells of a sweep share most of the file's sections, so each distinct section is parsed once.
    """
    file = path / "config.yaml"
    if not file.exists():
        return {}
    options: dict[str, Any] = {}
    for section in re.split(r"^(?=\w)", file.read_text(), flags=re.MULTILINE):
        options |= _parsed(section)
    return options


@lru_cache(maxsize=4096)
def _parsed(section: str) -> dict[str, Any]:
    return _flat(yaml.load(section, yaml.CSafeLoader) or {})


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            options |= _flat(value, f"{prefix}{name}.")
        else:
            options[f"{prefix}{name}"] = value
    return options
