"""Curves on Weights & Biases: one run a cell, and the same points on an x axis for each kind of cost."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from storage.errors import InputError

log = logging.getLogger(__name__)

MEASURE = "pate"
"""The measure whose axis is called privacy_cost; those of others are called as their columns."""


def axes_of(measures: Iterable[str]) -> dict[str, str]:
    """W&B's name of each x axis, and the curve's column on it, for cells with these privacy measures."""
    columns = {"privacy_cost" if name == MEASURE else f"cost_{name}": f"cost_{name}" for name in measures}
    return {"queries": "queries", **columns, "seconds": "total_seconds", "money": "attacker_usd"}


VALUES = ("accuracy", "fidelity", "overhead")

MODES = ("online", "offline", "disabled")

START_SECONDS = 30
"""How long a server may take to answer before the run is kept offline."""


class Tracker(Protocol):
    """Where a cell's curve is followed while it grows."""

    def log(self, curve: pd.DataFrame) -> None:
        """Log those rows of the curve that were not logged yet."""
        ...

    def summarize(self, result: Mapping[str, Any]) -> None:
        """Log the cell's final figures."""
        ...


class NoTracker:
    """Tracks nothing."""

    def log(self, curve: pd.DataFrame) -> None:
        """Nothing."""

    def summarize(self, result: Mapping[str, Any]) -> None:
        """Nothing."""


class WandbTracker:
    """Logs rows to one W&B run."""

    def __init__(self, run: Any, measures: Iterable[str]) -> None:
        self.run, self.axes = run, axes_of(measures)
        self.logged = run.starting_step  # a row is a step, and a resumed run has some
        # Exact names: of several matching globs, W&B would take one at random.
        for axis, column in self.axes.items():
            run.define_metric(f"by_{axis}/{column}", hidden=True)
            for value in VALUES:
                run.define_metric(f"by_{axis}/{value}", step_metric=f"by_{axis}/{column}")

    def log(self, curve: pd.DataFrame) -> None:
        """One W&B step a round: each value against queries, privacy costs, seconds and money; and the row."""
        for row in curve.iloc[self.logged :].to_dict("records"):
            point = {f"curve/{name}": value for name, value in row.items()}
            for axis, column in self.axes.items():
                if column in row:
                    point |= {f"by_{axis}/{name}": row[name] for name in (column, *VALUES)}
            self.run.log(point)
        self.logged = max(self.logged, len(curve))

    def summarize(self, result: Mapping[str, Any]) -> None:
        """The final figures, prices and artefact keys as the run's summary."""
        self.run.summary.update({f"final/{name}": value for name, value in result["final"].items()})
        self.run.summary.update(
            {name: result.get(name) for name in ("victim_accuracy", "defense", "strength", "gave_up", "keys")}
        )
        self.run.summary.update(price_summary(result))


class LastingTracker:
    """A WandbTracker that outlives W&B's service: without it, the curve is handed in at the end.

    The service is a process of its own, which a cluster may kill; the cell does not need it.

    Args:
        start: Starts the cell's run, or goes on in it.
        measures: See WandbTracker.
    """

    def __init__(self, start: Callable[[], Any], measures: Iterable[str]) -> None:
        self.start, self.measures = start, list(measures)
        self.tracker: WandbTracker | None = WandbTracker(start(), self.measures)
        self.curve: pd.DataFrame | None = None
        self.result: Mapping[str, Any] | None = None

    def log(self, curve: pd.DataFrame) -> None:
        """See Tracker."""
        self.curve = curve
        self._attempt(lambda tracker: tracker.log(curve))

    def summarize(self, result: Mapping[str, Any]) -> None:
        """See Tracker."""
        self.result = result
        self._attempt(lambda tracker: tracker.summarize(result))

    def finish(self, exit_code: int) -> None:
        """End the run; where the service was lost, start another one, and hand in what it missed."""
        self._attempt(lambda tracker: tracker.run.finish(exit_code=exit_code))
        if self.tracker is not None:
            return
        try:
            _forget_service()
            self.tracker = WandbTracker(self.start(), self.measures)
            if self.curve is not None:
                self.tracker.log(self.curve)
            if self.result is not None:
                self.tracker.summarize(self.result)
            self.tracker.run.finish(exit_code=exit_code)
            log.info("the curve was handed in to Weights & Biases after all")
        except Exception as error:
            _forget_service()
            log.warning(
                "the curve could not be handed in to Weights & Biases (%s); the cell's own files are whole",
                error,
            )

    def _attempt(self, action: Callable[[WandbTracker], None]) -> None:
        if self.tracker is None:
            return
        try:
            action(self.tracker)
        except Exception as error:  # of whatever kind: of W&B's, of its socket
            self.tracker = None
            log.warning("Weights & Biases is lost (%s: %s); the cell goes on", type(error).__name__, error)


def _forget_service() -> None:
    """Make W&B start a service anew; at the end of this process it would else ask the one that is dead."""
    import wandb

    with suppress(Exception):
        wandb.teardown()


def price_summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a stolen model costs, as flat figures to plot runs by.

    `price/accuracy_90/...` is the bill of the first round that reaches 90 % of the victim's accuracy, with
    `reached`; where that is false it is a lower bound. `price_over_honest/...` is its work over that of the
    honest 95 % quantile. `cheapest/...` is the best response of the last round.
    """
    honest = result.get("honest_bill") or {}
    figures = {
        f"honest/{name}_{quantile}": value
        for name, quantiles in honest.items()
        for quantile, value in quantiles.items()
    }
    figures |= {f"cheapest/{name}": value for name, value in (result.get("cheapest") or {}).items()}
    q95 = figures.get("honest/pow_seconds_q95")
    for what, shares in (result.get("price_to_reach") or {}).items():
        for share, bill in shares.items():
            figures |= {f"price/{what}_{share}/{name}": value for name, value in bill.items()}
            if q95:
                figures[f"price_over_honest/{what}_{share}"] = bill["pow_seconds"] / q95
    return figures


def has_wandb_key() -> bool:
    """Whether W&B would find an API key, in the environment or in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    import requests

    base = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    return requests.utils.get_netrc_auth(base) is not None


def run_id(key: str, output: Path) -> str:
    """Stable for a cell in its output folder, so that a resumed cell goes on in the same W&B run."""
    return hashlib.sha256(f"{key}/{output.resolve()}".encode()).hexdigest()[:16]


@contextmanager
def make_tracker(config: Mapping[str, Any], key: str, output: Path) -> Iterator[Tracker]:
    """The tracker that the `logger` group asks for; W&B is offline without a key, and never prompts.

    A cell that raises, or is told to terminate, is recorded as failed.
    """
    if config["logger"]["name"] == "none":
        yield NoTracker()
        return
    _keep_wandb_files_beside(Path(config["logger"]["directory"]))
    with _termination_raises():
        tracker = LastingTracker(lambda: _start(config, key, output), config["privacy"]["measures"])
        try:
            yield tracker
        except BaseException:
            tracker.finish(exit_code=1)
            raise
        tracker.finish(exit_code=0)


def _start(config: Mapping[str, Any], key: str, output: Path) -> Any:
    """The cell's run; offline where the server cannot be reached, since the cell itself needs none."""
    import wandb

    dataset, attack = config["dataset"]["name"], config["attack"]["name"]
    defenses = list(config["defense"] or ["none"])
    settings = {
        "project": config["logger"]["project"],
        "entity": config["logger"]["entity"],
        "id": run_id(key, output),
        "resume": "allow",
        "group": output.parent.name,
        "job_type": attack,
        "name": " ".join([attack, dataset, *defenses]),
        "tags": [dataset, attack, *defenses],
        "config": dict(config),
        "dir": config["logger"]["directory"],
        "settings": wandb.Settings(
            silent=not sys.stderr.isatty() or not has_wandb_key(), init_timeout=START_SECONDS
        ),
    }
    mode = wandb_mode(config["logger"]["mode"])
    try:
        return wandb.init(**settings, mode=mode)
    except wandb.Error as error:
        if mode != "online":
            raise
        log.warning("Weights & Biases does not answer, so runs of this process are kept offline: %s", error)
        wandb.teardown()  # which forgets the run that was not started, and so frees its id
        os.environ["WANDB_MODE"] = "offline"  # further cells of this process need not wait in vain
        return wandb.init(**settings, mode="offline")


def wandb_mode(asked: str | None) -> Any:
    """The mode that is asked for by `logger.mode`, else by WANDB_MODE; online only where there is a key."""
    mode = asked or os.environ.get("WANDB_MODE") or "online"
    if mode not in MODES:
        raise InputError(f"logger.mode={mode} is not one of {', '.join(MODES)} or null")
    return "offline" if mode == "online" and not has_wandb_key() else mode


@contextmanager
def _termination_raises() -> Iterator[None]:
    """SIGTERM as SystemExit, without which a terminated run would be shown as running for ever.

    A handler that somebody else has set stays.
    """
    is_free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not is_free or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _keep_wandb_files_beside(directory: Path) -> None:
    """Point W&B's data, cache and settings to `directory`: a later `wandb sync` needs them there."""
    directory.mkdir(parents=True, exist_ok=True)
    for variable, folder in (
        ("WANDB_DATA_DIR", "data"),
        ("WANDB_CACHE_DIR", "cache"),
        ("WANDB_CONFIG_DIR", "config"),
    ):
        os.environ.setdefault(variable, str((directory / folder).resolve()))
    os.environ.setdefault("WANDB_FINISH_TIMEOUT", "120")
