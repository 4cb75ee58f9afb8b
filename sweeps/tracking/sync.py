"""Sends to Weights & Biases what has not arrived: offline runs, and curves that its service was lost with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import yaml

from experiment.tracking.arrival import RECORD, note_arrived, noted
from experiment.tracking.wandb_run import WandbTracker
from experiment.tracking.wandb_service import forget_service
from sweeps.grid.listed import RECORDS as OF_A_SWEEP
from sweeps.tracking.summary import logger_of, sum_up_online

SECONDS = 60.0
"""For which `wandb sync` may be silent about a server that does not answer, and what each run adds to it."""

SECONDS_A_RUN = 10.0


def waiting(folder: Path) -> list[Path]:
    """The folders below one, or itself, whose runs have not arrived, in their order."""
    records = sorted(folder.rglob(RECORD))
    known = [(path.parent, noted(path.parent)) for path in records]
    return [path for path, arrival in known if arrival is not None and not arrival.arrived]


def send(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Send the runs of these folders; gives each with what went wrong, empty where it has arrived."""
    offline = [folder for folder in folders if _offline(folder) is not None]
    trouble = _sync(offline) if offline else ""
    for folder in offline:
        if _is_synced(folder):
            note_arrived(folder)
            yield folder, ""
        else:
            yield folder, trouble or "wandb sync did not send it"
    for folder in [folder for folder in folders if folder not in offline]:
        yield folder, _handed_in(folder)


def _offline(folder: Path) -> Path | None:
    arrival = noted(folder)
    return arrival.folder if arrival is not None else None


def _is_synced(folder: Path) -> bool:
    offline = _offline(folder)
    return offline is not None and any(offline.glob("run-*.wandb.synced"))


def _sync(folders: Sequence[Path]) -> str:
    """Let W&B's own command send offline runs; returns the last line of what went wrong."""
    paths = [path for folder in folders if (path := _offline(folder)) is not None]
    seconds = SECONDS + SECONDS_A_RUN * len(paths)
    command = [sys.executable, "-m", "wandb", "sync", *map(str, paths)]
    variables = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    if not Path("wandb").is_dir():  # where it has settings; else it would leave a folder with its logs here
        variables.setdefault("WANDB_DIR", str(paths[0].parents[1]))
    try:
        said = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"the server did not answer within {seconds:.0f} s"
    lines = (said.stdout + said.stderr).strip().splitlines()
    return lines[-1] if said.returncode and lines else ""


def _handed_in(folder: Path) -> str:
    """Send a run made anew of a cell's own files, or of a sweep's; returns what went wrong."""
    try:
        if folder.name == OF_A_SWEEP:
            sum_up_online(folder.parent)
        else:
            _hand_in(folder)
    except Exception as error:  # of whatever kind: of W&B's, of its socket
        forget_service()
        return f"{type(error).__name__}: {error}"
    return ""


def _hand_in(folder: Path) -> None:
    """Log the curve and the result that lie in a cell's folder."""
    arrival, logger = noted(folder), logger_of(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    curve = pd.read_csv(folder / "curve.csv")
    assert arrival is not None and logger is not None
    options = {**arrival.told["config"], "options": config}
    run = logger.start({**arrival.told, "config": options}, "online")
    measures = list(config["privacy"]["measures"])
    tracker = WandbTracker(run, config["dataset"]["name"], measures, logger.artifacts)
    tracker.log(curve)
    result = folder / "result.json"
    if is_done := result.is_file():
        tracker.summarize(json.loads(result.read_text()))
        tracker.keep({"trace": folder / "trace.parquet"})
    run.finish(exit_code=0 if is_done else 1)
    note_arrived(folder)
