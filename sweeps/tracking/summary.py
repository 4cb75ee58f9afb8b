"""The run of Weights & Biases that sums a sweep up: its table, its plots, its page."""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from experiment.tracking.arrival import RECORD, Arrival, note, noted
from experiment.tracking.lasting import begun
from experiment.tracking.wandb_logger import Wandb
from experiment.tracking.wandb_service import forget_service
from storage.options import instantiate
from sweeps.grid.listed import RECORDS
from sweeps.report.frames import Sweep, tidy
from sweeps.report.page import page
from sweeps.report.results import CellResult, load_cells
from sweeps.report.write import table

log = logging.getLogger(__name__)


def sum_up(directory: Path, cells: Sequence[CellResult], sweep: Sweep, plots: Iterable[Path]) -> None:
    """Start the run that sums a sweep up, or go on in it, where cells are followed and have changed since.

    A service or server that fails costs nothing: it is said, and `tollgate sync` makes up for it.

    Args:
        directory: Of the sweep.
        cells: Its finished cells.
        sweep: What they say.
        plots: Pictures, of which those in PNG are shown.
    """
    logger = logger_of(cells[0].path)
    if logger is None or not logger.summary:
        return
    told = _told(logger, directory, cells)
    before = noted(directory / RECORDS)
    if before is not None and before.told["config"]["cells"] == told["config"]["cells"]:
        return
    try:
        run = logger.start(told)
        _hand_in(run, directory, told, sweep, plots)
    except Exception as error:  # of whatever kind: of W&B's, of its socket
        forget_service()
        note(directory / RECORDS, Arrival(told))
        log.warning(
            "Weights & Biases is lost (%s: %s); tollgate sync %s sends the sweep's summary",
            *(type(error).__name__, error, directory),
        )


def sum_up_online(directory: Path, files: Path) -> None:
    """Send the run that sums a sweep up; raises what W&B raises. W&B's own files go below `files`."""
    cells = load_cells([directory])
    logger = logger_of(cells[0].path)
    assert logger is not None
    told = _told(logger, directory, cells)
    run = logger.start_online(told, files)
    _hand_in(run, directory, told, tidy(cells), sorted(directory.glob("*.png")))


def logger_of(cell: Path) -> Wandb | None:
    """W&B's options in the config of a cell, given its folder; None where it is not followed."""
    try:
        return logger_in(yaml.safe_load((cell / "config.yaml").read_text()))
    except (OSError, KeyError, AttributeError, yaml.YAMLError):
        return None


def logger_in(config: Mapping[str, Any]) -> Wandb | None:
    """W&B's options in a config; None where it names none."""
    node = config["logger"].get("wandb")
    return None if node is None else instantiate(node, "logger.wandb")


def _told(logger: Wandb, directory: Path, cells: Sequence[CellResult]) -> dict[str, Any]:
    """What `wandb.init` is told of the run."""
    name = directory.resolve().name
    keys = "\n".join(sorted(cell.result["keys"]["cell"] for cell in cells))
    digest = hashlib.sha256(keys.encode()).hexdigest()[:16]
    before = noted(directory / RECORDS)
    own = f"summary of {socket.gethostname()}:{directory.resolve()}"
    ident = before.told["id"] if before else hashlib.sha256(own.encode()).hexdigest()[:16]
    told = logger.told(ident, "", name, "summary", ["summary"], {"sweep_name": name, "cells": digest})
    return told | {"name": f"summary of {name}"}


def _hand_in(run: Any, directory: Path, told: Mapping[str, Any], sweep: Sweep, plots: Iterable[Path]) -> None:
    import wandb

    before = noted(directory / RECORDS)
    note(directory / RECORDS, begun(run, told))
    pictures = {path.stem: wandb.Image(str(path)) for path in plots if path.suffix == ".png"}
    means = wandb.Table(dataframe=table(sweep), allow_mixed_types=True)
    run.log({"means": means, "report": wandb.Html(page(sweep), inject=False), **pictures})
    run.finish()
    if run.disabled:
        (directory / RECORDS / RECORD).unlink(missing_ok=True)
    elif not run.offline:
        if before is not None:
            before.mark_offline_files()
        note(directory / RECORDS, Arrival(told, online=True, arrived=True))
