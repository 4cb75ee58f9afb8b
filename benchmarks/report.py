"""How long each part of a report takes, on a synthetic sweep.

    python -m benchmarks.report [--cells 1000] [--keep FOLDER]

The cells have files, sizes and differences like real ones: attacks, strengths, seeds, an attacker who gives
up, one who knows the cost, and one whose PATE cost was not measured. Their figures are invented.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from experiment.kinds import measure_headings
from sweeps.report.frames import tidy
from sweeps.report.means import over_seeds, points
from sweeps.report.page import page
from sweeps.report.pictures.plots import draw
from sweeps.report.results import load_cells
from sweeps.report.tables import latex, markdown

CONF = Path(__file__).resolve().parents[1] / "conf"
DATASETS = ("digits", "mnist")
ATTACKS = (
    "standard",
    "random",
    "entropy",
    "greedy",
    "worstcase",
    "knockoff",
    "copycat",
    "jacobian",
    "mixmatch",
    "dfme",
)
STRENGTHS = (None, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Strengths of the proof of work; None stands for cells without a defense."""
OTHERS = {
    "rounding": {"l1": 0.004, "attacker": 0.0},
    "reverse_sigmoid": {"l1": 0.3, "attacker": 0.02},
    "gaussian_noise": {"l1": 0.55, "attacker": 0.06},
    "mad": {"l1": 0.98, "attacker": 0.16},
    "prada": {"false_alarms": 0.06, "refused": 0.04, "attacker": 0.22},
}
"""Other defenses: the utility loss of honest users, and how much accuracy the substitute loses."""
ROUNDS = 10


def write_sweep(
    folder: Path,
    cells: int,
    datasets: Sequence[str] = DATASETS,
    attacks: Sequence[str] = ATTACKS,
    defenses: Sequence[float | str | None] = (*STRENGTHS, *OTHERS),
) -> None:
    """Write `cells` cells below `folder`: each combination once, then again with the next seed."""
    configs = {dataset: _config(dataset) for dataset in datasets}
    grid = list(itertools.product(datasets, attacks, defenses))
    for number in range(cells):
        seed, place = divmod(number, len(grid))
        dataset, attack, defense = grid[place]
        strength, other = (None, defense) if isinstance(defense, str) else (defense, None)
        cell = folder / f"{number}_{dataset}_{attack}"
        cell.mkdir(parents=True)
        gives_up = attack == "copycat" and (strength or 0) >= 4
        curve = _curve(ATTACKS.index(attack), strength or 0.0, seed, rounds=3 if gives_up else ROUNDS)
        if other:
            curve[["accuracy", "fidelity"]] -= OTHERS[other]["attacker"]
        if attack == "dfme":
            curve = curve.drop(columns="cost_pate")
        curve.to_csv(cell / "curve.csv", index=False)
        config = configs[dataset] | {"seed": seed}
        config["attack"] = config["attack"] | {"name": attack}
        config["pow_calibration"] = config["pow_calibration"] | {"strength": strength or 1.0}
        text = "".join(_yaml(name, json.dumps(section)) for name, section in config.items())
        (cell / "config.yaml").write_text(text)
        result = _result(dataset, attack, strength, seed, gives_up) | _losses(other)
        result["measures"] = measure_headings(configs[dataset])
        if other:
            result |= {"defense": other, "keys": {"cell": f"{dataset}{attack}{other}{seed}"}}
        (cell / "result.json").write_text(json.dumps(result | {"final": curve.iloc[-1].to_dict()}))


_written: dict[tuple[str, str], str] = {}


def _yaml(name: str, section: str) -> str:
    """Return a section of config.yaml; equal sections are serialised once, since most cells share them."""
    if (name, section) not in _written:
        _written[name, section] = OmegaConf.to_yaml({name: json.loads(section)})
    return _written[name, section]


def _config(dataset: str) -> dict[str, Any]:
    """Return the resolved configuration of a cell."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"dataset={dataset}", "logger=none"])
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    return resolved


def _curve(expense: int, strength: float, seed: int, rounds: int) -> pd.DataFrame:
    """Return a curve whose work grows with strength, with queries, and with the attack's number."""
    random = np.random.default_rng([expense, seed])
    number = np.arange(1, rounds + 1)
    queries = 100 * number
    accuracy = 0.98 - 0.5 * np.exp(-number / (2 + expense / 3)) + random.normal(0, 0.01, rounds)
    query_seconds = 0.46 * queries / 64
    work = query_seconds * strength * 0.3 * number ** (expense / 4 - 0.5) * random.uniform(0.9, 1.1)
    honest_work = query_seconds * strength * 0.3 * number**-0.3
    hashes, honest_hashes = 2e6 * work, 2e6 * honest_work
    return pd.DataFrame(
        {
            "round": number,
            "queries": queries,
            "accuracy": accuracy,
            "fidelity": accuracy + 0.005,
            "cost_pate": 0.3 * queries * (1 + expense / 4),
            "cost_pknn": 0.15 * queries * (1 + expense / 4),
            "cost_entropy": 0.01 * queries * (1 + expense),
            "cost_gap": 0.02 * queries * (1 + expense),
            "query_seconds": query_seconds,
            "pow_seconds": work,
            "total_seconds": query_seconds + work,
            "overhead": 1 + work / query_seconds,
            "expected_hashes": hashes,
            "difficulty_bits": np.log2(1 + hashes),
            "attacker_solve_seconds": hashes / 2e6,
            "attacker_kwh": hashes / 2e6 * 1.25e-6,
            "attacker_usd": hashes / 2e6 * 2.1e-7,
            "honest_pow_seconds": honest_work,
            "honest_solve_seconds": honest_hashes / 2e6,
            "honest_kwh": honest_hashes / 2e6 * 1.25e-6,
            "honest_usd": honest_hashes / 2e6 * 2.1e-7,
            "honest_overhead": 1 + honest_work / query_seconds,
            "measured_query_seconds": 0.1 * number,
            "measured_train_seconds": 2.0 * number,
            "measured_peak_mib": 900.0,
        }
    )


def _result(dataset: str, attack: str, strength: float | None, seed: int, gives_up: bool) -> dict[str, Any]:
    """Return a cell's result without its final figures."""
    is_free = strength is None
    return {
        "dataset": dataset,
        "attack": attack,
        "defense": "none" if is_free else "pow",
        "calibration": None if is_free else "progressive",
        "strength": strength,
        "puzzle": None if is_free else "sha256",
        "hardware": None if is_free else "laptop_core",
        "scope": None if is_free else "account",
        "accounts": 1,
        "give_up_usd": 1e-4 if attack == "copycat" else None,
        "gave_up": gives_up,
        "knows": ["cost"] if attack == "worstcase" else [],
        "seed": seed,
        "victim_accuracy": 0.985,
        "keys": {"cell": f"{dataset}{attack}{strength}{seed}", "extraction": f"{dataset}{attack}{seed}"},
    }


def _losses(defense: str | None) -> dict[str, Any]:
    """Return the utility loss of honest users, and the transferability of the substitute."""
    none = {"accuracy": 0.985, "l1": 0.0, "calibration_error": 0.01, "false_alarms": None, "refused": 0.0}
    changed = {name: value for name, value in OTHERS.get(defense or "", {}).items() if name != "attacker"}
    return {
        "honest": none | changed,
        "transferability": {"kl": 0.2, "transfer": 0.5, "transfer_white_box": 0.9},
    }


def measured(folder: Path, out: Path) -> Iterator[tuple[str, float]]:
    """Yield each part of a report on the cells below `folder`, and the seconds it took."""

    def timed(part: Callable[[], Any]) -> tuple[Any, float]:
        started = time.perf_counter()
        return part(), time.perf_counter() - started

    cells, seconds = timed(lambda: load_cells([folder]))
    yield f"read {len(cells)} cells", seconds
    sweep, seconds = timed(lambda: tidy(cells))
    yield "tell cells apart", seconds
    table, seconds = timed(lambda: over_seeds(points(sweep), [*sweep.names, "at"]))
    yield "means and intervals", seconds
    _, seconds = timed(lambda: (markdown(table, sweep), latex(table, sweep)))
    yield "Markdown and LaTeX", seconds
    text, seconds = timed(lambda: page(sweep))
    yield f"page of {len(text) / 2**20:.1f} MiB", seconds
    paths, seconds = timed(lambda: draw(sweep, out))
    yield f"{len(paths)} plots", seconds


def main() -> None:
    """Write a sweep, and print what each part of its report takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="an empty folder for the sweep and its report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        write_sweep(folder / "sweep", options.cells)
        folder.joinpath("report").mkdir()
        table = Table("part", title="A report")
        table.add_column("seconds", justify="right")
        total = 0.0
        for part, seconds in measured(folder / "sweep", folder / "report"):
            table.add_row(part, f"{seconds:.2f}")
            total += seconds
        table.add_row("together", f"{total:.2f}")
        Console().print(table)


if __name__ == "__main__":
    main()
