"""From the grid that Hydra gives to a sweep that is planned, run and reported."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from storage.errors import InputError
from storage.files import check_writable
from storage.store import identity_key
from sweeps.grid.compose import GridComposer
from sweeps.grid.plan import Planner
from sweeps.grid.units import Plan, Stage
from sweeps.launch.estimate import Estimates
from sweeps.launch.head import Head, SweepFailed
from sweeps.launch.types import Launcher
from sweeps.report.summary import summarize


def run_sweep(
    context: HydraContext,
    config: DictConfig,
    jobs: Sequence[Sequence[str]],
    launcher: Launcher | None,
    cells_per_job: Mapping[Stage, int],
    wait: bool,
) -> None:
    """Plan the cells given by their overrides, run what is missing and wait; without a launcher, only plan.

    Raises InputError before anything runs, or SweepFailed once all is over.
    """
    started = time.perf_counter()
    directory = Path(config.hydra.sweep.dir).resolve()
    try:
        check_writable(directory, "hydra.sweep.dir or paths.output")
        check_writable(Path(config.paths.store), "paths.store")
    except OSError as error:
        raise InputError(str(error)) from error
    plan = Planner(GridComposer(context.config_loader, config), directory).plan(jobs)  # type: ignore[arg-type]
    console = Console(soft_wrap=True)
    for line in plan_lines(plan, Estimates(Path(config.paths.store))):
        console.print(line)
    console.print(f"planned in {time.perf_counter() - started:.1f} s; results go to {plan.directory}")
    if launcher is None:
        return
    logging = OmegaConf.to_container(config.hydra.job_logging, resolve=False)
    try:
        Head(plan, launcher, cells_per_job, logging).run(wait)
    except SweepFailed:
        with contextlib.suppress(ValueError):  # cells that no table tells apart must not hide the failures
            summarize(directory)  # which Hydra's callback does for a sweep that ends well
        raise


def plan_lines(plan: Plan, estimates: Estimates) -> list[str]:
    """The plan in a few lines: cells, what they share, what is done, and how long the rest may take."""
    repeated = f" ({plan.repeated:,} more are one of them under another name)" if plan.repeated else ""
    lines = [f"{len(plan.cells):,} cells{repeated}, {len(plan.done):,} of them done"]
    victims = len({identity_key(cell.identity.victim) for cell in plan.cells})
    extractions = len({cell.extraction_key for cell in plan.cells})
    lines.append(
        f"{victims:,} victims ({plan.count('prepare'):,} to prepare), {extractions:,} extractions "
        f"({plan.count('extract'):,} to run, {plan.count('price'):,} to price only)"
    )
    for (dataset, attack), (total, done) in _by_attack(plan).items():
        lines.append(f"  {attack} on {dataset}: {total:,} cells, {total - done:,} to do")
    return [*lines, estimates.sentence(plan)] if plan.units else lines


def _by_attack(plan: Plan) -> dict[tuple[str, str], tuple[int, int]]:
    """For each data set and attack, its cells, and how many of them are done."""
    table: dict[tuple[str, str], tuple[int, int]] = {}
    for cell in plan.cells:
        name = (cell.config["dataset"]["name"], cell.config["attack"]["name"])
        total, done = table.get(name, (0, 0))
        table[name] = (total + 1, done + cell.is_done)
    return table
