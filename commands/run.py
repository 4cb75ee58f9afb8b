"""`tollgate run`: one cell, or with -m a grid; with --dry-run only its plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands.hydra_app.application import run_application, stay_here
from commands.parsing import packages_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

DRY_RUN = "--dry-run"
PLANNING = ("++hydra.launcher.only_plan=true", "hydra/job_logging=none", "hydra.output_subdir=null")
"""Overrides under which a grid is planned, and the folder of a cell stays empty."""


def main(arguments: Sequence[str]) -> int:
    """Run or plan what the arguments describe."""
    if DRY_RUN not in arguments:
        return run_application("run", "config", run, arguments)
    others = [argument for argument in arguments if argument != DRY_RUN]
    return run_application("run", "config", plan, [*others, *PLANNING])


def run(config: DictConfig) -> float | None:
    """Run the composed cell in Hydra's output directory; returns its objective, where it has one."""
    from hydra.core.hydra_config import HydraConfig

    stay_here()
    _check_planned()
    with packages_of("sweeps"):
        from experiment.cell import run_cell
        from experiment.pricing.objective import objective_of
    output = Path(HydraConfig.get().runtime.output_dir)
    run_cell(config, output)
    return objective_of(config, json.loads((output / "result.json").read_text()))


def plan(config: DictConfig) -> None:
    """Print the plan of the composed cell; the folder that Hydra has made for it goes again."""
    from hydra.core.hydra_config import HydraConfig

    with packages_of("sweeps"):
        from sweeps.launch.sweep import plan_cell
    directory = Path(HydraConfig.get().runtime.output_dir)
    try:
        plan_cell(config, HydraConfig.get().overrides.task, directory)
    finally:
        _remove_empty(directory)


def _remove_empty(directory: Path) -> None:
    """Remove a folder that Hydra made, and those above it that hold nothing else."""
    for folder in (directory, *directory.parents[:2]):
        if any(folder.iterdir()):
            return
        folder.rmdir()


def _check_planned() -> None:
    """Refuse to run the cells of a grid one by one, as a sweeper lets a launcher do that is not ours."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from sweeps.launch.types import SUBMITIT, UnplannedGrid

    hydra = HydraConfig.get()
    chosen = hydra.runtime.choices["hydra/launcher"]
    if hydra.mode is RunMode.MULTIRUN and chosen not in SUBMITIT:
        raise UnplannedGrid(chosen)
