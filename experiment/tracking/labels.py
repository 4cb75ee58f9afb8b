"""What runs are called and grouped by: flat values, the same for every cell of a grid."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from experiment.components import Cell
from experiment.naming import stack_name

USUAL = {"calibration": "progressive", "puzzle": "sha256", "hardware": "laptop_core"}
"""The defaults of conf/, which a name does not say."""


def labels_of(cell: Cell) -> dict[str, Any]:
    """What tells what a cell is; words are empty, and the strength is None, where they do not apply."""
    config, toll = cell.config, cell.toll
    return {
        "attack": config["attack"]["name"],
        "dataset": config["dataset"]["name"],
        "defense": stack_name(config["defense"]),
        "calibration": toll.pricing.unexpected.name if toll else "",
        "strength": float(config["pow_calibration"]["strength"]) if toll else None,
        "puzzle": toll.pricing.puzzle.name if toll else "",
        "hardware": toll.pricing.attacker.name if toll else "",
        "accounts": config["attack"]["accounts"],
        "seed": config["seed"],
        "cell": cell.identity.cell_key,
    }


def run_name(labels: Mapping[str, Any]) -> str:
    """A cell in a few words, `knockoff digits pow x4 s1`, with what of its price is not usual."""
    words = [labels["attack"], labels["dataset"], labels["defense"]]
    if labels["strength"] is not None:
        words.append(f"x{labels['strength']:g}")
    words += [labels[name] for name, usual in USUAL.items() if labels[name] not in ("", usual)]
    if labels["accounts"] > 1:
        words.append(f"{labels['accounts']} accounts")
    return " ".join([*words, f"s{labels['seed']}"])


def run_id(key: str) -> str:
    """The id of a cell's run, by its key alone: the same wherever its files lie, so that it is resumed."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]
