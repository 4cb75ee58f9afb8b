"""A finished curve for trackers, and what an offline run of Weights & Biases has written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from experiment.tracking.base import TrackedCell
from support.commands import ROOT, run_python

CURVE = pd.DataFrame(
    {
        "round": [1, 2, 3],
        "queries": [100, 200, 300],
        "accuracy": [0.5, 0.7, 0.8],
        "fidelity": [0.4, 0.6, 0.9],
        "cost_pate": [30.0, 60.0, 95.0],
        "cost_entropy": [3.0, 4.0, 7.0],
        "total_seconds": [1.0, 3.0, 7.0],
        "attacker_usd": [1e-6, 2e-6, 5e-6],
        "overhead": [1.0, 1.5, 2.5],
    }
)


RESULT = {
    "final": CURVE.iloc[-1].to_dict(),
    "victim_accuracy": 0.99,
    "defense": "pow",
    "strength": 2.0,
    "honest": {"images": 300, "accuracy": 0.98, "l1": 0.01, "false_alarms": 0.05, "refused": 0.0},
    "transferability": {"kl": 0.4, "transfer": 0.3, "transfer_white_box": 0.9},
    "queries_until_alarm": 250,
    "keys": {"cell": "abc"},
    "honest_bill": {"pow_seconds": {"median": 0.5, "q95": 2.0}, "queries": {"median": 20.0, "q95": 90.0}},
    "cheapest": {"strategy": "split", "accounts": 5, "pow_seconds": 1.5},
    "price_to_reach": {
        "accuracy": {"90": {"reached": True, "queries": 200.0, "pow_seconds": 8.0}},
        "fidelity": {"90": {"reached": False, "queries": 300.0, "pow_seconds": 9.0}},
    },
}


def config(tmp_path: Path, **logger: Any) -> dict[str, Any]:
    node = {"_target_": "experiment.tracking.wandb_logger.Wandb", "directory": str(tmp_path / "outputs")}
    return {
        "logger": {"wandb": node | logger},
        "attack": {"name": "knockoff", "budget": 300},
        "dataset": {"name": "digits"},
        "defense": {"pow": {"cost": "pate"}},
        "privacy": {"measures": {"pate": {}, "entropy": {}}},
    }


LABELS = {
    "attack": "knockoff",
    "dataset": "digits",
    "defense": "pow",
    "calibration": "progressive",
    "strength": 2.0,
    "puzzle": "sha256",
    "hardware": "laptop_core",
    "accounts": 1,
    "seed": 0,
    "cell": "key",
}


def tracked(tmp_path: Path, output: Path, **logger: Any) -> TrackedCell:
    """A cell that Weights & Biases follows, by these options."""
    return TrackedCell(config(tmp_path, **logger), LABELS, "knockoff digits pow x2 s0", output)


def write_files(cell: TrackedCell, rows: int = len(CURVE), ended: bool = True) -> None:
    """Leave in the cell's folder its config, its curve so far, and its result if it has ended."""
    cell.output.mkdir(parents=True, exist_ok=True)
    (cell.output / "config.yaml").write_text(yaml.safe_dump(dict(cell.config)))
    CURVE[:rows].to_csv(cell.output / "curve.csv", index=False)
    if ended:
        (cell.output / "result.json").write_text(json.dumps(RESULT))


def records(tmp_path: Path, run: Path | None = None) -> dict[str, list[Any]]:
    """The records of that offline run, else of the one below `tmp_path`, by type."""
    (path,) = (
        run.glob("run-*.wandb") if run else (tmp_path / "outputs/wandb").glob("offline-run-*/run-*.wandb")
    )
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found: dict[str, list[Any]] = {}
    for record in map(json.loads, lines):
        found.setdefault(record["type"], []).append(record.get(record["type"]))
    return found


def exit_codes(written: dict[str, list[Any]]) -> list[int]:
    return [(record or {}).get("exit_code", 0) for record in written["exit"]]


def run_tracked(
    program: str, *arguments: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A program that follows a cell, in a process of its own; its first argument is the folder."""
    path = f"{ROOT / 'tests'}{os.pathsep}{ROOT}"
    return run_python("-c", program, str(folder), *arguments, folder=folder, PYTHONPATH=path, **environment)
