"""A search: a sweeper launches a few cells, looks at their objectives, and chooses the next ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from hydra.core.utils import JobReturn
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from experiment.pricing.objective import FIGURES, figure_of
from storage.errors import InputError
from sweeps.grid.units import Plan, PlannedCell, Unit
from sweeps.launch.head import SweepFailed, SweepInterrupted, alone
from sweeps.launch.returns import job_returns, result_of
from sweeps.launch.sweep import Task

OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"


def optuna_sweeper(options: Mapping[str, Any]) -> Any:
    """Optuna's sweeper with its options; raises InputError where it is not installed."""
    try:
        for module in ("optuna", OPTUNA.rpartition(".")[0]):
            import_module(module)
    except ImportError as error:
        raise InputError(
            f"hydra/sweeper=search needs Optuna's sweeper ({error}): pip install hydra-optuna-sweeper"
        ) from error
    return instantiate({"_target_": OPTUNA, "_convert_": "object", **options})


def check_search(config: DictConfig, only_plan: bool, wait: bool) -> None:
    """Raise InputError where a search cannot be what is meant."""
    if config.objective is None:
        chosen = config.hydra.runtime.choices["hydra/sweeper"]
        raise InputError(f"hydra/sweeper={chosen} needs objective=, one of {', '.join(FIGURES)}")
    if only_plan:
        raise InputError("a search has no plan: its cells follow from one another; leave out --dry-run")
    if not wait:
        raise InputError("hydra.launcher.wait must be true in a search: its cells follow from one another")


def search(task: Task, given: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
    """Run the cells from the `first` on, say what was found, and give their objectives.

    Args:
        task: what the cells are run with.
        given: the overrides of all cells that the search has asked for.
        first: the number of the first that is new.

    Raises:
        InputError: before anything runs, for what cannot work.
        SweepInterrupted: at the terminal. A cell that fails is for the sweeper to judge.
    """
    with alone(task.directory):
        plan = task.plan(given, show=first == 0)
        plan.units = _units_of(plan, first)
        try:
            task.run(plan)
        except SweepInterrupted:
            raise
        except SweepFailed:
            pass
    returns = job_returns(plan, first)
    cells = {cell.key: cell for cell in plan.cells}
    for key, returned in zip(plan.keys[first:], returns, strict=True):
        told = _found(cells[key]) if cells[key].is_done else str(returned._return_value)
        Console(soft_wrap=True).print(f"{cells[key].label}: {told}", highlight=False)
    return returns


def _found(cell: PlannedCell) -> str:
    figure = figure_of(cell.config["objective"], result_of(cell))
    return f"{cell.config['objective']} {figure:.4g}"


def _units_of(plan: Plan, first: int) -> list[Unit]:
    """The units of the cells from the `first` on, with what they need."""
    keys = set(plan.keys[first:])
    units = [unit for unit in plan.units if any(cell.key in keys for cell in unit.cells)]
    needed = {unit.needs for unit in units}
    return [unit for unit in plan.units if unit in units or unit.id in needed]
