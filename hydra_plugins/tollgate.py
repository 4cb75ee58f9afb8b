"""What Hydra finds of ours: launchers that plan a sweep before they run it, and a sweeper that lets them.

A thin door to `sweeps.launch`, imported only once a sweep begins.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from experiment import naming
from sweeps.grid.hydra_internals import BasicSweeper

if TYPE_CHECKING:
    from sweeps.grid.units import Stage
    from sweeps.launch.types import Launcher as SweepLauncher


naming.register()  # Hydra imports its plugins before it composes, so our configs can be resolved anywhere


GRIDS = ("hydra_plugins.tollgate.GridSweeper", f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}")
"""Sweepers that know all their cells before any has run."""


class GridSweeper(BasicSweeper):
    """Hydra's own grid, given to the launcher as a whole, which plans it.

    Hydra's sweeper composes every cell to check it; the plan does so a hundred times faster.
    """

    def __init__(self, params: Mapping[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=dict(params or {}))

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Refuse launchers that would run the cells one by one, before any folder is made."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if not isinstance(self.launcher, PlannedLauncher):
            from sweeps.launch.types import SUBMITIT, UnplannedGrid

            chosen = config.hydra.runtime.choices["hydra/launcher"]
            if chosen not in SUBMITIT or "only_plan" in config.hydra.launcher:
                raise UnplannedGrid(chosen)

    def sweep(self, arguments: list[str]) -> Any:
        """Give the grid to the launcher; one that only plans leaves no folder."""
        if self.config is None or not getattr(self.launcher, "only_plan", False):
            return super().sweep(arguments)
        with TemporaryDirectory(prefix="tollgate-plan-") as folder:
            self.config = self.config.copy()
            OmegaConf.update(self.config, "hydra.sweep.dir", folder)
            return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave the check to the launcher's plan, where it makes one."""
        if not isinstance(self.launcher, PlannedLauncher):
            super().validate_batch_is_legal(batch)


class SearchSweeper(Sweeper):
    """hydra/sweeper=search: Optuna's, with options of our own as its defaults."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make Optuna's sweeper; raises InputError where it is not installed."""
        from sweeps.launch.search import optuna_sweeper

        self.sweeper: Any = optuna_sweeper(self.options)
        self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Search."""
        return self.sweeper.sweep(arguments)


class PlannedLauncher(Launcher):
    """Plans the sweep, runs what is missing, and reports.

    A sweeper that searches launches again and again; its cells are one sweep.
    """

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(options), resolve=True)  # type: ignore[assignment]
        self.cells_per_job: dict[Stage, int] = {
            "prepare": 1,
            "extract": self.options.pop("cells_per_job", 1),
            "price": self.options.pop("prices_per_job", 1),
        }
        self.wait = self.options.pop("wait", True)
        self.only_plan: bool = self.options.pop("only_plan", False)
        self.given: list[Sequence[str]] = []

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what the launch needs."""
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See the cells through; in a grid it raises SweepFailed, naming them, if any lacks its result."""
        from sweeps.launch.search import check_search, search
        from sweeps.launch.sweep import Task, run_sweep

        task = Task(
            self.context,
            self.config,
            self.launcher(),  # which refuses options that cannot be meant, whether or not it will run
            self.cells_per_job,
        )
        if self.config.hydra.sweeper._target_ in GRIDS:
            return run_sweep(task, job_overrides, self.only_plan, self.wait)
        check_search(self.config, self.only_plan, self.wait)
        first = len(self.given)
        self.given += job_overrides
        return search(task, self.given, first)

    @abstractmethod
    def launcher(self) -> SweepLauncher:
        """Where the jobs run."""


class SlurmLauncher(PlannedLauncher):
    """hydra/launcher=slurm."""

    def launcher(self) -> SweepLauncher:
        """On a SLURM cluster."""
        from sweeps.launch.cluster.slurm import SlurmLauncher

        return SlurmLauncher(**self.options)


class LocalLauncher(PlannedLauncher):
    """hydra/launcher=local."""

    def launcher(self) -> SweepLauncher:
        """Over processes of this machine."""
        from sweeps.launch.local import LocalLauncher

        return LocalLauncher(**self.options)


class InProcessLauncher(PlannedLauncher):
    """hydra/launcher=in_process, which a grid has unless it names another."""

    def launcher(self) -> SweepLauncher:
        """In this process."""
        from sweeps.launch.in_process import InProcessLauncher

        return InProcessLauncher(**self.options)


class DryRunLauncher(InProcessLauncher):
    """hydra/launcher=dry_run: the plan is printed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"only_plan": True})
