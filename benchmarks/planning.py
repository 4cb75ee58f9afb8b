"""How long the plan and the status of a large sweep take.

    python -m benchmarks.planning [--seeds 9] [OVERRIDE ...]

The grid is every attack at two calibrations and six strengths, for so many seeds; overrides choose another
data set. Planning composes and checks each cell, looks for what is stored, and writes the plan: once with
data sets that were never read, whose images it decodes, and once more. Two thirds of the cells then get a
result, the others an error, and `sweeps.status` reads them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.table import Table

from storage.files import write_json
from sweeps.grid.compose import GridComposer, hydra_loader, master_config
from sweeps.grid.plan import Planner
from sweeps.grid.units import Plan
from sweeps.launch.folder import FAILURE, SweepFolder

ROOT = Path(__file__).resolve().parents[1]
STRENGTHS = ("0.25", "0.5", "1", "2", "4", "8")


def grid(seeds: int, overrides: list[str]) -> list[list[str]]:
    """The overrides of each cell."""
    attacks = sorted(path.stem for path in (ROOT / "conf" / "attack").glob("*.yaml"))
    choices = product(attacks, ("paper", "fitted"), STRENGTHS, range(seeds))
    return [
        [
            *overrides,
            *(f"attack={attack}", "logger=none", f"pow_calibration={calibration}"),
            *(f"pow_calibration.strength={strength}", f"seed={seed}"),
        ]
        for attack, calibration, strength, seed in choices
    ]


def planned(jobs: list[list[str]], folder: Path) -> tuple[Plan, float]:
    """Plan the cells; return the plan, and the seconds that it took."""
    with hydra_loader(ROOT / "conf") as loader:
        master = master_config(loader)
        started = time.perf_counter()
        plan = Planner(GridComposer(loader, master), folder).plan(jobs)
        SweepFolder(folder).write_plan(plan)
        return plan, time.perf_counter() - started


def seconds_of_status(plan: Plan) -> float:
    """Write results and errors, and return the seconds of the status command from start to end."""
    for number, cell in enumerate(plan.cells):
        cell.directory.mkdir(parents=True, exist_ok=True)
        if number % 3:
            write_json(cell.directory / "result.json", {"keys": {"cell": cell.key}, "final": {}})
        else:
            write_json(
                cell.directory / FAILURE, {"error": "RuntimeError: it broke", "traceback": "..." * 1000}
            )
    started = time.perf_counter()
    command = [sys.executable, "-m", "sweeps.status", str(plan.directory)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    seconds = time.perf_counter() - started
    assert f"{len(plan.cells):,} cells: " in said, said
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        jobs = grid(options.seeds, [f"paths.store={name}/store", *options.overrides])
        _, first = planned(jobs, Path(name) / "sweep")
        plan, seconds = planned(jobs, Path(name) / "sweep")
        table = Table(title=f"{len(plan.cells):,} cells, {len(plan.units):,} units")
        table.add_column("what")
        table.add_column("seconds", justify="right")
        table.add_row("planning, images decoded", f"{first:.2f}")
        table.add_row("planning", f"{seconds:.2f}")
        table.add_row("status", f"{seconds_of_status(plan):.2f}")
        Console(width=60).print(table)


if __name__ == "__main__":
    main()
