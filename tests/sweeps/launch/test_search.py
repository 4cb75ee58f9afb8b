"""Cells that a sweeper asks for a few at a time, as its search goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

from storage.errors import InputError
from storage.files import write_json
from support.commands import ROOT, run_program
from support.grids.running import SMALL
from sweeps.grid.units import Plan, Unit
from sweeps.launch.head import SweepFailed
from sweeps.launch.search import check_search, search

HALVING = '''
from hydra.plugins.sweeper import Sweeper
from hydra.core.plugins import Plugins


class HalvingSweeper(Sweeper):
    """Halves a strength while the objective is above 0.5 from below 2."""

    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments):
        strength = 8.0
        for number in range(3):
            given = [[*arguments, f"pow_calibration.strength={strength}"]]
            (found,) = self.launcher.launch(given, initial_job_idx=number)
            print(f"FOUND {strength} {found.return_value:.6f}")
            strength /= 2
'''


class Played:
    """A task whose cells are finished by hand, but for those that are to fail."""

    def __init__(self, directory: Path, failing: Sequence[str] = ()) -> None:
        self.directory, self.failing = directory, failing
        self.config = OmegaConf.create({"objective": "overhead"})
        self.ran: list[list[str]] = []

    def plan(self, given: Sequence[Sequence[str]], show: bool) -> Plan:
        cells = {job[0]: self._cell(job[0]) for job in given}
        units = [Unit(key, "extract", (cell,), "victim") for key, cell in cells.items() if not cell.is_done]
        victim = Unit("victim", "prepare", (next(iter(cells.values())),))
        return Plan(
            self.directory, list(cells.values()), units=[victim, *units], keys=[job[0] for job in given]
        )

    def _cell(self, name: str) -> Any:
        folder = self.directory / name
        config = {"objective": "overhead", "objective_below": None}
        done = (folder / "result.json").exists()
        given = {"directory": folder, "key": name, "overrides": (name,), "label": name}
        return SimpleNamespace(**given, config=config, is_done=done)

    def run(self, plan: Plan) -> None:
        self.ran.append([unit.id for unit in plan.units])
        for unit in plan.units:
            if unit.stage != "prepare" and unit.id not in self.failing:
                folder = unit.cells[0].directory
                folder.mkdir()
                write_json(folder / "result.json", {"final": {"overhead": float(unit.id)}})
                vars(unit.cells[0])["is_done"] = True
        if self.failing:
            raise SweepFailed("some")


def test_each_launch_runs_its_own_cells_and_gives_their_objectives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task: Any = Played(tmp_path)
    first = search(task, [["1"], ["2"]], 0)
    again = search(task, [["1"], ["2"], ["2"], ["3"]], 2)
    assert [one.return_value for one in (*first, *again)] == [1.0, 2.0, 2.0, 3.0]
    assert task.ran == [["victim", "1", "2"], ["victim", "3"]]
    assert "3: overhead 3" in capsys.readouterr().out


def test_a_cell_that_fails_is_for_the_sweeper_to_judge(tmp_path: Path) -> None:
    task: Any = Played(tmp_path, failing=["2"])
    good, bad = search(task, [["1"], ["2"]], 0)
    assert (good.status, bad.status) == (JobStatus.COMPLETED, JobStatus.FAILED)
    with pytest.raises(Exception, match="2: it has no result"):
        _ = bad.return_value
    search(task, [["1"], ["2"], ["3"]], 2)
    assert task.ran[-1] == ["victim", "3"], "what failed is not tried again meanwhile"


@pytest.mark.parametrize(
    ("objective", "only_plan", "wait", "said"),
    [
        (None, False, True, "hydra/sweeper=optuna needs objective=, one of accuracy"),
        ("overhead", True, True, "leave out --dry-run"),
        ("overhead", False, False, "hydra.launcher.wait must be true in a search"),
    ],
)
def test_what_a_search_cannot_be(objective: str | None, only_plan: bool, wait: bool, said: str) -> None:
    choices = {"runtime": {"choices": {"hydra/sweeper": "optuna"}}}
    with pytest.raises(InputError, match=said):
        check_search(OmegaConf.create({"objective": objective, "hydra": choices}), only_plan, wait)


def test_a_search_without_optuna_says_what_is_missing(tmp_path: Path) -> None:
    missing = tmp_path / "own" / "optuna.py"  # found before any that is installed
    missing.parent.mkdir()
    missing.write_text("raise ImportError('no optuna')")
    paths = [f"paths.store={tmp_path}/store", f"paths.output={tmp_path}/outputs"]
    process = run_program(
        *("run.py", "-m", "experiment=honest_below_two", *SMALL, *paths),
        PYTHONPATH=f"{ROOT}:{missing.parent}",
    )
    assert process.returncode == 1 and "pip install hydra-optuna-sweeper" in process.stderr
    assert "Traceback" not in process.stderr and not (tmp_path / "outputs").exists()


@pytest.mark.slow  # an extraction, and two more prices of it
def test_a_sweeper_of_ones_own_searches(tmp_path: Path) -> None:
    """Any of Hydra's: it launches, looks at the objective, and launches again; its cells are one sweep."""
    plugin, conf = tmp_path / "own" / "hydra_plugins", tmp_path / "conf" / "hydra" / "sweeper"
    plugin.mkdir(parents=True)
    conf.mkdir(parents=True)
    (plugin / "halving.py").write_text(HALVING)
    (conf / "halving.yaml").write_text("_target_: hydra_plugins.halving.HalvingSweeper\n")
    paths = [f"paths.store={tmp_path}/store", f"hydra.sweep.dir={tmp_path}/sweep"]
    process = run_program(
        *("run.py", "-m", "hydra/sweeper=halving", "objective=honest_overhead", *SMALL, *paths),
        *("--config-dir", str(tmp_path / "conf")),
        PYTHONPATH=f"{ROOT}:{tmp_path / 'own'}",
    )
    assert process.returncode == 0, process.stderr
    found = [float(line.split()[2]) for line in process.stdout.splitlines() if line.startswith("FOUND")]
    assert len(found) == 3 and found[0] > found[1] > found[2] > 1
    assert process.stdout.count("planned in") == 1
    assert len(list((tmp_path / "sweep").glob("digits_standard_pow_x*/result.json"))) == 3
    assert len(list((tmp_path / "store" / "extractions").glob("*/DONE"))) == 1
