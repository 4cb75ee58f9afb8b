"""From the grid that Hydra gives to a sweep that is planned, run and reported."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from experiment.keys import Config
from storage.errors import InputError
from storage.files import check_writable
from storage.store import identity_key
from sweeps.grid.compose import Composed, GridComposer
from sweeps.grid.plan import Composer, Planner
from sweeps.grid.units import Plan, Stage, counted
from sweeps.launch.estimate import Estimates
from sweeps.launch.head import Head, SweepFailed, SweepInterrupted, alone
from sweeps.launch.returns import job_returns
from sweeps.launch.types import Launcher
from sweeps.report.summary import summarize


@dataclass(frozen=True)
class Task:
    """What cells of a sweep are run with.

    Attributes:
        context: Hydra's, with the loader that composes the cells.
        config: Of the sweep, with Hydra's own node.
        launcher: Where the jobs run.
        cells_per_job: How many cells are put together into a job of each stage.
    """

    context: HydraContext
    config: DictConfig
    launcher: Launcher
    cells_per_job: Mapping[Stage, int]

    @property
    def directory(self) -> Path:
        """Of the sweep."""
        return Path(self.config.hydra.sweep.dir).resolve()

    def plan(self, jobs: Sequence[Sequence[str]], make: bool = True, show: bool = True) -> Plan:
        """The plan of these cells; see `_planned`."""
        composer = GridComposer(self.context.config_loader, self.config)  # type: ignore[arg-type] # Hydra's only
        processes, here = getattr(self.launcher, "processes", 1), self.launcher.runs_here
        place = (self.directory, "hydra.sweep.dir")
        return _planned(composer, jobs, place, self.config, make, here, processes, show)

    def run(self, plan: Plan, wait: bool = True) -> None:
        """Run what is missing of the plan; raises SweepFailed if cells lack their results in the end."""
        logging = OmegaConf.to_container(self.config.hydra.job_logging, resolve=False)
        Head(plan, self.launcher, self.cells_per_job, logging).run(wait)


def run_sweep(task: Task, jobs: Sequence[Sequence[str]], only_plan: bool, wait: bool) -> Sequence[JobReturn]:
    """Plan a grid, run what is missing, wait, and print the table; or only plan.

    Args:
        task: what the cells are run with.
        jobs: the overrides of each cell.
        only_plan: whether to stop once the plan is printed, and make nothing.
        wait: whether to return only once all is over.

    Returns:
        How each cell ended; nothing of a plan, or where the cells are not waited for.

    Raises:
        InputError: before anything runs, for what cannot work.
        SweepFailed: once all is over, if cells lack their results.
    """
    plan = task.plan(jobs, make=not only_plan)
    if only_plan:
        return []
    try:
        with alone(task.directory) as has_waited:
            plan = task.plan(jobs) if has_waited else plan
            task.run(plan, wait)
    except SweepInterrupted:
        raise
    except SweepFailed:
        _report(task.directory)
        raise
    _report(task.directory)
    return job_returns(plan) if wait else []


def plan_cell(config: DictConfig, overrides: Sequence[str], directory: Path) -> None:
    """Print the plan of one cell, given by its config, that would leave its files in `directory`."""

    class Given:
        def compose(self, overrides: Sequence[str], number: int) -> Composed:
            plain: Config = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment] # a mapping
            return Composed(plain, lambda job: ".")

    place = (directory.resolve(), "hydra.run.dir")
    _planned(Given(), [overrides], place, config, make=False, runs_here=True)


def _planned(
    composer: Composer,
    jobs: Sequence[Sequence[str]],
    place: tuple[Path, str],
    config: DictConfig,
    make: bool,
    runs_here: bool,
    processes: int = 1,
    show: bool = True,
) -> Plan:
    """The plan, printed unless `show` is false, of a sweep whose folder and its option are `place`.

    Folders are made where it says so; `processes` run at a time.
    """
    started = time.perf_counter()
    directory, option = place
    try:
        check_writable(directory, f"{option} or paths.output", make)
        check_writable(config.paths.store, "paths.store", make)
    except OSError as error:
        raise InputError(str(error)) from error
    plan = Planner(composer, directory, runs_here).plan(jobs)
    if show:
        console = Console(soft_wrap=True)
        for line in plan_lines(plan, Estimates(Path(config.paths.store)), processes):
            console.print(line)
        console.print(
            f"planned in {time.perf_counter() - started:.1f} s; results go to {plan.directory}", markup=False
        )
    return plan


def _report(directory: Path) -> None:
    """Print the table of what is finished, and draw its plots."""
    try:
        summarize(directory)
    except ValueError as error:  # no column tells two cells apart; the cells' results are there
        Console(soft_wrap=True).print(f"there is no table: {error}", markup=False)


def plan_lines(plan: Plan, estimates: Estimates, processes: int = 1) -> list[str]:
    """The plan in a few lines: cells, what they share, what is done, and how long the rest may take."""
    repeated = f" ({plan.repeated:,} more are one of them under another name)" if plan.repeated else ""
    lines = [f"{counted(len(plan.cells), 'cell')}{repeated}, {len(plan.done):,} of them done"]
    victims = len({identity_key(cell.identity.victim) for cell in plan.cells})
    extractions = len({cell.extraction_key for cell in plan.cells})
    lines.append(
        f"{counted(victims, 'victim')} ({plan.count('prepare'):,} to prepare), "
        f"{counted(extractions, 'extraction')} "
        f"({plan.count('extract'):,} to run, {plan.count('price'):,} to price only)"
    )
    for (dataset, attack), (total, done) in _by_attack(plan).items():
        lines.append(f"  {attack} on {dataset}: {counted(total, 'cell')}, {total - done:,} to do")
    if said := plan.left_out_words:
        lines.append(said)
    return [*lines, estimates.sentence(plan, processes)] if plan.units else lines


def _by_attack(plan: Plan) -> dict[tuple[str, str], tuple[int, int]]:
    """For each data set and attack, its cells, and how many of them are done."""
    table: dict[tuple[str, str], tuple[int, int]] = {}
    for cell in plan.cells:
        name = (cell.config["dataset"]["name"], cell.config["attack"]["name"])
        total, done = table.get(name, (0, 0))
        table[name] = (total + 1, done + cell.is_done)
    return table
