"""What runs in a job: its units one after another, each cell's failure its own."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from submitit.core.utils import DelayedSubmission, UncompletedJobError

from experiment.artifacts.prepare import prepare
from experiment.cell import run_cell
from experiment.compose import compose_cell
from experiment.finished import finished_key
from storage.files import write_atomically
from sweeps.launch.cluster.on_node import missed_gpu, name_job
from sweeps.launch.cluster.side_by_side import run_side_by_side
from sweeps.launch.folder import FAILURE, SweepFolder, write_failure

log = logging.getLogger(__name__)


class CellsFailed(Exception):
    """Some of a job's cells failed; each has said so in its own folder."""


class JobRun:
    """A job of a sweep, given by its file; what a time limit cuts is submitted again as it is.

    `unit` is the only one that is run, in a process beside those of others.
    """

    def __init__(self, path: Path, unit: str | None = None) -> None:
        self.path, self.unit = path, unit

    def __call__(self) -> None:
        """Run the job; raises CellsFailed at the end, so that the cluster calls the job failed."""
        content = json.loads(self.path.read_text())
        folder = SweepFolder(self.path.parents[2])
        failed: list[str] = []
        units = [unit for unit in content["units"] if self.unit in (None, unit["id"])]
        if self.unit is None and content.get("at_a_time", 1) > 1:
            failed = run_side_by_side(self.path, [unit["id"] for unit in units], content["at_a_time"])
            units = []
        for unit in units:
            if content["stage"] == "prepare":
                failed += _prepare(unit, folder, content["logging"])
            else:
                cells = [cell | {"directory": folder.directory / cell["directory"]} for cell in unit["cells"]]
                failed += [error for cell in cells for error in _run(cell, content["logging"])]
        if failed:
            raise CellsFailed("; ".join(failed))

    def checkpoint(self) -> DelayedSubmission:
        """What is submitted again when a time limit or a preemption cuts the job: the cells resume."""
        return DelayedSubmission(JobRun(self.path))


def _run(cell: dict[str, Any], logging_config: Any) -> list[str]:
    """Run one cell unless it is done; returns what it failed of."""
    directory: Path = cell["directory"]
    if finished_key(directory) == cell["key"]:
        return []
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FAILURE).unlink(missing_ok=True)
    _log_to(directory / "log", logging_config)
    _write_overrides(directory, cell)
    _say_where(cell["label"], cell["config"])
    try:
        run_cell(OmegaConf.create(cell["config"]), directory, progress=False)
    except UncompletedJobError as error:  # of the cluster: the time is over for all
        write_failure(directory / FAILURE, error)
        raise
    except Exception as error:
        log.exception("the cell failed")
        write_failure(directory / FAILURE, error)
        return [f"{directory.name}: {type(error).__name__}: {error}"]
    return []


def _say_where(label: str, config: Any) -> None:
    name_job(label)
    if missed := missed_gpu(config):
        log.warning(missed)


def _prepare(unit: dict[str, Any], folder: SweepFolder, logging_config: Any) -> list[str]:
    """Make what cells need: the victim, its teachers, its defenses, and what honest users' images cost."""
    _log_to(folder.log_path(unit["id"]), logging_config)
    started = time.perf_counter()
    first = unit["cells"][0]
    _say_where(f"preparation for {first['label']}", first["config"])
    try:
        config = OmegaConf.create(unit["cells"][0]["config"])
        prepare(compose_cell(config, progress=False))
    except Exception as error:
        log.exception("the preparation failed")
        write_failure(folder.failure_path(unit["id"]), error)
        return [f"{unit['id']}: {type(error).__name__}: {error}"]
    log.info("prepared in %.0f s", time.perf_counter() - started)
    return []


def _log_to(path: Path, config: Any) -> None:
    """Log as Hydra would in a job of its own, to this file."""
    config = json.loads(json.dumps(config))
    for handler in config["handlers"].values():
        if "filename" in handler:
            handler["filename"] = str(path)
    logging.config.dictConfig(config)


def _write_overrides(directory: Path, cell: dict[str, Any]) -> None:
    """What Hydra leaves beside a job: its config and what was overridden."""
    beside = directory / ".hydra"
    beside.mkdir(exist_ok=True)
    config, overrides = OmegaConf.create(cell["config"]), OmegaConf.create(cell["overrides"])
    write_atomically(beside / "config.yaml", lambda path: OmegaConf.save(config, path))
    write_atomically(beside / "overrides.yaml", lambda path: OmegaConf.save(overrides, path))


def run(path: Path, unit: str | None = None) -> None:
    """Run the job of a file, or one unit of it, and exit: with 1 where some of its cells failed."""
    try:
        JobRun(path, unit)()
    except CellsFailed as error:
        raise SystemExit(f"failed: {error}") from None


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
