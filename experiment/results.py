"""What a cell leaves: its files, and the figures of its result."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiment.artifacts.extraction import FinishedExtraction
from experiment.artifacts.victim import ServedVictim
from experiment.kinds import measure_headings
from experiment.naming import stack_name
from experiment.pricing.cell_pricing import CellPricing
from experiment.pricing.reaching import price_to_reach
from experiment.tracking.base import Tracker
from extraction.checkpoint import RoundResult
from storage.files import link_or_copy, write_atomically, write_json
from storage.provenance import git_commit, package_versions, slurm_job

log = logging.getLogger(__name__)

TOLL = (
    *("calibration", "strength", "puzzle", "hardware", "honest_hardware", "scope"),
    *("charged", "request_size", "account_seconds"),
)
"""What a result says of a toll."""


class CellFiles:
    """The files of a cell in its folder, and the same figures for its tracker."""

    def __init__(self, folder: Path, tracker: Tracker) -> None:
        self.folder = folder
        self.tracker = tracker

    def publish_curve(self, curve: pd.DataFrame) -> None:
        """Write the curve so far to `curve.csv`, and track its new rows."""
        write_atomically(self.folder / "curve.csv", lambda path: curve.to_csv(path, index=False))
        self.tracker.log(curve)

    def keep_trace(self, extraction: FinishedExtraction, pricing: CellPricing, queries: int) -> None:
        """Leave `trace.parquet`: the first `queries`, which were paid for, with the accounts that asked.

        The store's own file is linked where it holds just these.
        """
        path = self.folder / "trace.parquet"
        if queries < len(extraction.trace):
            log.info("the attacker gave up: curve.csv and trace.parquet hold its first %d queries", queries)
        elif pricing.cell.accounts_after == 1:
            link_or_copy(extraction.trace_path, path)
            return
        trace = pricing.shared_out(extraction.trace)[:queries]
        write_atomically(path, lambda temporary: trace.to_parquet(temporary))

    def keep_hits(self, rounds: Sequence[RoundResult], images: int) -> None:
        """Write which of the `images` test images each round's substitute got right to `test_images.csv`.

        Nothing for rounds of early versions, which do not tell.
        """
        rows = [
            {"round": it.round, "images": images, "right": it.right, "agrees": it.agrees} for it in rounds
        ]
        if all(it.right for it in rounds):
            table = pd.DataFrame(rows)
            write_atomically(self.folder / "test_images.csv", lambda path: table.to_csv(path, index=False))

    def publish_result(self, result: dict[str, Any], substitute: Path) -> None:
        """Write the result to `result.json`, which ends the cell, and track it and the cell's files."""
        write_json(self.folder / "result.json", result)
        self.tracker.summarize(result)
        self.tracker.keep({"trace": self.folder / "trace.parquet", "substitute": substitute})


def cell_result(
    pricing: CellPricing,
    curve: pd.DataFrame,
    victim: ServedVictim,
    extraction: FinishedExtraction,
    started: float,
) -> dict[str, Any]:
    """The figures of a finished cell, but for what is measured on its models afterwards.

    Args:
        pricing: The pricing of the cell.
        curve: The part of the curve that the attacker pays for.
        victim: The victim.
        extraction: The whole extraction.
        started: When the cell began, in seconds since 1970.
    """
    cell, final = pricing.cell, curve.iloc[-1].to_dict()
    return {
        **_setup(pricing),
        "final": final,
        "cheapest": pricing.cheapest(extraction, curve),
        "measures": measure_headings(cell.config),
        "victim_accuracy": victim.accuracy,
        **(pricing.calibrated.figures if pricing.calibrated else {"expected_cost": None}),
        "honest_bill": pricing.honest_bill,
        "price_to_reach": price_to_reach(curve, victim.accuracy),
        "keys": {"cell": cell.identity.cell_key, "victim": victim.key, "extraction": extraction.key},
        "started": started,
        "host": socket.gethostname(),
        "job": slurm_job(),
        "device": str(cell.hardware.device),
        "seconds": time.time() - started,
        "versions": package_versions(),
        "git_commit": git_commit(),
        "queries_until_alarm": _queries_until_alarm(extraction.trace[: int(final["queries"])]),
    }


def _setup(pricing: CellPricing) -> dict[str, Any]:
    """What distinguishes a cell from others."""
    config = pricing.cell.config
    return {
        "dataset": config["dataset"]["name"],
        "attack": config["attack"]["name"],
        "defense": stack_name(config["defense"]),
        "accounts": config["attack"]["accounts"],
        "give_up_usd": config["attack"]["give_up_usd"],
        "evade": config["attack"]["evade"],
        **_toll_setup(pricing),
        "knows": config["attack"]["knows"],
        "asks_as_honest": pricing.cell.attack.asks_as_honest and config["query_pool"]["source"] is None,
        "seed": config["seed"],
    }


def _toll_setup(pricing: CellPricing) -> dict[str, Any]:
    """What distinguishes the toll of a cell from those of others; all None without a toll."""
    toll, calibrated = pricing.cell.toll, pricing.calibrated
    if toll is None or calibrated is None:
        return dict.fromkeys(TOLL)
    return {
        "calibration": calibrated.calibration.name,
        "strength": calibrated.calibration.strength,
        "puzzle": toll.pricing.puzzle.name,
        "hardware": toll.pricing.attacker.name,
        "honest_hardware": toll.pricing.honest.name,
        "scope": pricing.billing.toll.scope.name if pricing.billing else None,
        "charged": toll.cost,
        "request_size": calibrated.calibration.request_size,
        "account_seconds": pricing.billing.toll.account_seconds if pricing.billing else None,
    }


def _queries_until_alarm(trace: pd.DataFrame) -> int | None:
    """How many queries were asked until the first alarm, with the one that raised it; None without any."""
    if "alarm" not in trace or not trace["alarm"].any():
        return None
    return int(trace["alarm"].to_numpy().argmax()) + 1
