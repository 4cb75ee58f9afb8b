"""One cell of the grid from its config to its files."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from experiment.artifacts.stages import FinishedExtraction, ServedVictim, Stages, clean_rows
from experiment.artifacts.transferability import transferability
from experiment.artifacts.utility_loss import honest_surcharge, utility_loss
from experiment.components import Cell, InputError, compose_cell
from experiment.kinds import measure_headings
from experiment.naming import stack_name
from experiment.pricing.bills import Billing, honest_work, until_given_up
from experiment.pricing.calibrating import Calibrated, calibrate
from experiment.pricing.curve import TraceAccounting, build_curve
from experiment.progress import query_bar
from experiment.tracking import Tracker, make_tracker
from extraction.checkpoint import RoundResult
from pow.traces import split_over_accounts
from storage.files import check_writable, link_or_copy, write_atomically, write_json
from storage.provenance import git_commit, package_versions
from storage.store import Store

log = logging.getLogger(__name__)


def run_cell(config: DictConfig, output: Path) -> None:
    """Run the cell and leave config.yaml, curve.csv, trace.parquet and result.json in `output`.

    Raises InputError, with one clear sentence and before any training, for input that cannot work.
    """
    started = time.time()
    try:
        check_writable(output, "hydra.run.dir, hydra.sweep.dir or paths.output")
        check_writable(Path(config.paths.store), "paths.store")
    except OSError as error:
        raise InputError(str(error)) from error
    cell = compose_cell(config, progress=sys.stderr.isatty())
    write_atomically(output / "config.yaml", lambda path: OmegaConf.save(config, path, resolve=True))
    with make_tracker(cell.config, cell.identity.cell_key, output) as tracker:
        CellRun(cell, output, tracker).run(started)


class CellRun:
    """A run of one cell: goes through the stages, and writes and tracks the curve as it grows."""

    def __init__(self, cell: Cell, output: Path, tracker: Tracker) -> None:
        self.cell = cell
        self.output = output
        self.tracker = tracker
        self.stages = Stages(cell, Store(Path(cell.config["paths"]["store"])))
        self.accounting = TraceAccounting(cell.accounting)
        self.billing: Billing | None = None
        self.calibrated: Calibrated | None = None
        self.spent: Callable[[int], None]

    def run(self, started: float) -> None:
        """All stages in turn, then the final files."""
        victim = self.stages.victim()
        self._set_billing(victim)
        with query_bar(self.cell.settings.budget, self.cell.hardware.progress) as self.spent:
            extraction = self.stages.extraction(victim, self._on_round)
        whole = self._curve(extraction.rounds, extraction.trace)
        curve = self._paid(whole)
        self._publish(curve)
        self._keep_trace(extraction)
        result = self._result(curve, victim, extraction.key, started)
        result["queries_until_alarm"] = _queries_until_alarm(
            extraction.trace[: int(result["final"]["queries"])]
        )
        result["gave_up"] = not curve.equals(whole)
        result["honest"] = utility_loss(self.stages, victim)
        result["transferability"] = (
            None if result["gave_up"] else transferability(self.stages, victim, extraction)
        )
        write_json(self.output / "result.json", result)
        self.tracker.summarize(result)
        last = curve.iloc[-1]
        log.info(
            "%s on %s: accuracy %.2f %%, fidelity %.2f %% after %d queries; %.4g s, %.3g times without work",
            result["attack"],
            result["dataset"],
            100 * last.accuracy,
            100 * last.fidelity,
            last.queries,
            last.total_seconds,
            last.overhead,
        )

    def _set_billing(self, victim: ServedVictim) -> None:
        cell, toll = self.cell, self.cell.toll
        if toll is None:
            return
        seed = cell.config["seed"]
        self.calibrated = calibrate(toll, self.stages, victim, self.accounting, seed)
        defense = toll.defense.bind(self.calibrated.calibration, toll.pricing.puzzle)
        work = honest_work(
            defense,
            clean_rows(self.stages.honest(victim)).filter(regex=f"_{toll.cost}$"),
            lambda rows: self.accounting.cumulative(rows, toll.cost),
            cell.settings.budget,
            seed,
            honest_surcharge(self.stages, victim),
        )
        self.billing = Billing(
            defense, toll.pricing.attacker, toll.pricing.honest, work, surcharge=cell.stack.surcharge
        )

    def _on_round(self, rounds: Sequence[RoundResult], trace: pd.DataFrame) -> None:
        curve = self._curve(rounds, trace)
        last = curve.iloc[-1]
        self.spent(int(last.queries))
        log.info(
            "round %d: %d of %d queries, accuracy %.2f %%, fidelity %.2f %%, %.4g s",
            last["round"],
            last.queries,
            self.cell.settings.budget,
            100 * last.accuracy,
            100 * last.fidelity,
            last.total_seconds,
        )
        self._publish(self._paid(curve))

    def _curve(self, rounds: Sequence[RoundResult], trace: pd.DataFrame) -> pd.DataFrame:
        return build_curve(
            rounds,
            self._shared_out(trace),
            list(self.cell.measures),
            self.accounting,
            self.cell.config["dataset"]["request_seconds"],
            self.billing,
        )

    def _paid(self, curve: pd.DataFrame) -> pd.DataFrame:
        """The part of the curve that the attacker pays for."""
        cell = self.cell
        return until_given_up(curve, cell.config["attack"]["give_up_usd"], cell.data.train.num_classes)

    def _shared_out(self, trace: pd.DataFrame) -> pd.DataFrame:
        """The trace with the accounts that asked."""
        accounts = self.cell.accounts_after
        return split_over_accounts(trace, accounts) if accounts > 1 else trace

    def _keep_trace(self, extraction: FinishedExtraction) -> None:
        path = self.output / "trace.parquet"
        if self.cell.accounts_after == 1:
            link_or_copy(extraction.trace_path, path)
        else:
            trace = self._shared_out(extraction.trace)
            write_atomically(path, lambda temporary: trace.to_parquet(temporary))

    def _publish(self, curve: pd.DataFrame) -> None:
        write_atomically(self.output / "curve.csv", lambda path: curve.to_csv(path, index=False))
        self.tracker.log(curve)

    def _pricing(self) -> dict[str, Any]:
        """What distinguishes a cell's price from those of other cells."""
        config, toll = self.cell.config, self.cell.toll
        pricing: dict[str, Any] = {
            "accounts": config["attack"]["accounts"],
            "give_up_usd": config["attack"]["give_up_usd"],
        }
        calibration = self.calibrated.calibration if self.calibrated else None
        if toll is None:
            return pricing | dict.fromkeys(("calibration", "strength", "puzzle", "hardware", "scope"))
        return pricing | {
            "calibration": calibration.name if calibration else None,
            "strength": calibration.strength if calibration else None,
            "puzzle": toll.pricing.puzzle.name,
            "hardware": toll.pricing.attacker.name,
            "scope": self.billing.toll.scope.name if self.billing else None,
        }

    def _result(
        self, curve: pd.DataFrame, victim: ServedVictim, extraction_key: str, started: float
    ) -> dict[str, Any]:
        config = self.cell.config
        calibrated = self.calibrated
        return {
            "dataset": config["dataset"]["name"],
            "attack": config["attack"]["name"],
            "defense": stack_name(config["defense"]),
            **self._pricing(),
            "knows": config["attack"]["knows"],
            "seed": config["seed"],
            "final": curve.iloc[-1].to_dict(),
            "measures": measure_headings(config),
            "victim_accuracy": victim.accuracy,
            **(calibrated.figures() if calibrated else {"expected_cost": None}),
            "keys": {"cell": self.cell.identity.cell_key, "victim": victim.key, "extraction": extraction_key},
            "started": started,
            "seconds": time.time() - started,
            "versions": package_versions(),
            "git_commit": git_commit(),
        }


def _queries_until_alarm(trace: pd.DataFrame) -> int | None:
    """How many queries were asked until the first alarm, with the one that raised it; None without any."""
    if "alarm" not in trace or not trace["alarm"].any():
        return None
    return int(trace["alarm"].to_numpy().argmax()) + 1
