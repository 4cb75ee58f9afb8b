"""One cell of the grid from its config to its files."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from experiment.cell_run import CellRun
from experiment.compose import compose_cell
from experiment.finished import result_key
from experiment.pricing.objective import check_objective
from experiment.tracking.base import TrackedCell
from experiment.tracking.following import follow
from experiment.tracking.labels import labels_of, run_name
from storage.errors import InputError
from storage.files import check_writable, write_atomically


def run_cell(config: DictConfig, output: Path, progress: bool = True) -> None:
    """Run the cell and leave config.yaml, curve.csv, trace.parquet and result.json in `output`.

    `progress` says whether bars may be shown, on a terminal. Raises InputError, with one clear sentence and
    before any training, for input that cannot work.
    """
    started = time.time()
    try:
        check_writable(output, "hydra.run.dir, hydra.sweep.dir or paths.output")
        check_writable(config.paths.store, "paths.store")
    except OSError as error:
        raise InputError(str(error)) from error
    cell = compose_cell(config, progress=progress and sys.stderr.isatty())
    check_objective(cell.config)
    drop_other_result(output, cell.identity.cell_key)
    write_atomically(output / "config.yaml", lambda path: OmegaConf.save(config, path, resolve=True))
    labels = labels_of(cell)
    with follow(TrackedCell(cell.config, labels, run_name(labels), output)) as tracker:
        CellRun(cell, output, tracker).run(started)


def drop_other_result(output: Path, key: str) -> None:
    """Remove the result of another cell from a folder that was given to this one."""
    if result_key(output) != key:
        (output / "result.json").unlink(missing_ok=True)
