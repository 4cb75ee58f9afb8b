"""Finished cells, read from their folders."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False)
class CellResult:
    """A finished cell: its folder, the content of result.json, and its curve."""

    path: Path
    result: dict[str, Any]
    curve: pd.DataFrame

    @property
    def defense(self) -> str:
        """The defence, with what of its price is not standard."""
        result = self.result
        standard = {"calibration": "paper", "strength": 1.0, "puzzle": "sha256", "scope": "account"}
        unusual = [name for name, value in standard.items() if result.get(name) not in (None, value)]
        labels = [f"x{result[name]:g}" if name == "strength" else result[name] for name in unusual]
        return " ".join([result["defense"], *labels])

    @property
    def attack(self) -> str:
        """The attack, with its accounts and its limit where it has them."""
        result = self.result
        accounts = [f"{result['accounts']:,} accounts"] if result.get("accounts", 1) > 1 else []
        limit = [f"up to ${result['give_up_usd']:g}"] if result.get("give_up_usd") is not None else []
        return ", ".join([result["attack"], *accounts, *limit])


def load_cells(directories: Iterable[Path]) -> list[CellResult]:
    """The finished cells below the directories, in the order of their folders' names."""
    paths = sorted(
        {path.parent for directory in directories for path in directory.rglob("result.json")}, key=_natural
    )
    return [
        CellResult(path, json.loads((path / "result.json").read_text()), pd.read_csv(path / "curve.csv"))
        for path in paths
    ]


def _natural(path: Path) -> tuple[str, int, str]:
    number = path.name.split("_", 1)[0]
    return str(path.parent), int(number) if number.isdigit() else 0, path.name
