"""Sends to Weights & Biases what has not arrived: each run is made anew of the files of its cell or sweep.

Those files are whole where W&B's own may not be: its offline runs may be deleted, cut short by a kill, or
still be written.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import yaml

from experiment.tracking.arrival import RECORD, Arrival, note, noted
from experiment.tracking.wandb_run import WandbTracker
from experiment.tracking.wandb_service import forget_service
from storage.files import check_writable
from sweeps.grid.listed import RECORDS as OF_A_SWEEP
from sweeps.tracking.summary import logger_in, sum_up_online

ENDING_SECONDS = 600.0
"""For which a cell that has its result may still be handing it in online."""


def followed(folder: Path) -> dict[Path, Arrival]:
    """The folders below one, or itself, whose runs are on record, in their order."""
    records = [(path.parent, noted(path.parent)) for path in sorted(folder.rglob(RECORD))]
    return {path: arrival for path, arrival in records if arrival is not None}


def waits(folder: Path, arrival: Arrival) -> bool:
    """Whether something of a run has not arrived that nobody else sends.

    A cell that has not ended may be running still. Online it sends its curve itself; of others there is
    something to send where the curve has grown.
    """
    if arrival.arrived:
        return False
    if folder.name == OF_A_SWEEP:
        return True
    result = folder / "result.json"
    if result.is_file():
        return not arrival.online or time.time() - result.stat().st_mtime > ENDING_SECONDS
    curve = folder / "curve.csv"
    return not arrival.online and curve.is_file() and len(pd.read_csv(curve)) > arrival.rows


def send(folders: Mapping[Path, Arrival]) -> Iterator[tuple[Path, str]]:
    """Send these runs; gives each with what went wrong, empty where all that there is has arrived.

    Once the server does not answer, the rest is not tried.
    """
    import wandb

    unreachable = ""
    with TemporaryDirectory() as files:
        for folder, arrival in folders.items():
            try:
                if not unreachable:
                    _send(folder, arrival, Path(files))
                yield folder, unreachable
            except Exception as error:  # of whatever kind: of W&B's, of its socket, of the disk
                forget_service()
                trouble = f"{type(error).__name__}: {error}"
                unreachable = trouble if isinstance(error, wandb.errors.CommError) else ""
                yield folder, trouble


def _send(folder: Path, arrival: Arrival, files: Path) -> None:
    check_writable(folder, "where it is noted what has arrived")
    with _alone(folder):
        if (noted(folder) or arrival).arrived:
            return  # by another sync in the meantime
        if folder.name == OF_A_SWEEP:
            sum_up_online(folder.parent, files)
        else:
            _hand_in(folder, arrival, files)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other syncs from a folder; raises BlockingIOError where one is at it."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError("another sync is sending it") from error
        yield
    finally:
        os.close(opened)


def _hand_in(folder: Path, arrival: Arrival, files: Path) -> None:
    """Log the curve and the result that lie in a cell's folder, and what was kept of it."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    logger = logger_in(config)
    if logger is None:
        raise ValueError("its config.yaml names no options of W&B")
    result = _result(folder)
    curve = pd.read_csv(folder / "curve.csv")
    run = logger.start_online(
        {**arrival.told, "config": {**arrival.told["config"], "options": config}}, files
    )
    measures = list(config["privacy"]["measures"])
    tracker = WandbTracker(run, config["dataset"]["name"], measures, logger.artifacts)
    tracker.log(curve)
    if result is not None:
        tracker.summarize(result)
        substitute = Path(arrival.substitute or folder / "substitute.pt")
        tracker.keep({"trace": folder / "trace.parquet", "substitute": substitute})
    run.finish(exit_code=0 if result is not None else 1)
    note(folder, replace(arrival, rows=len(curve), arrived=result is not None))
    if result is not None:
        arrival.mark_offline_files()


def _result(folder: Path) -> dict[str, Any] | None:
    """The result of a cell; None where it has not ended."""
    path = folder / "result.json"
    return json.loads(path.read_text()) if path.is_file() else None
