"""The course of one cell: its artifacts in turn, and the curve as it grows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from experiment.artifacts.extraction import Extracted, FinishedExtraction, StoredExtraction
from experiment.artifacts.metering import VictimMeter
from experiment.artifacts.transferability import transferability
from experiment.artifacts.utility_loss import UtilityLoss
from experiment.artifacts.victim import ServedVictim, TrainedVictim
from experiment.components import Cell
from experiment.pricing.cell_pricing import CellPricing, price_cell
from experiment.progress import query_bar
from experiment.results import CellFiles, cell_result
from experiment.tracking.base import Tracker

log = logging.getLogger(__name__)


class CellRun:
    """A run of one cell: goes through its artifacts, and writes and tracks the curve as it grows."""

    def __init__(self, cell: Cell, output: Path, tracker: Tracker) -> None:
        self.cell = cell
        self.files = CellFiles(output, tracker)
        self.pricing: CellPricing
        self.spent: Callable[[int], None]

    def run(self, started: float) -> None:
        """All artifacts in turn, then the final files; `started` is in seconds since 1970."""
        victim = TrainedVictim(self.cell).get()
        meter = VictimMeter(self.cell, victim)
        self.pricing = price_cell(self.cell, meter)
        with query_bar(self.cell.settings.budget, self.cell.hardware.progress) as self.spent:
            extraction = StoredExtraction(self.cell, victim, meter, self._on_round).get()
        self._finish(victim, extraction, started)

    def _on_round(self, extracted: Extracted) -> None:
        curve = self.pricing.curve(extracted)
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
        self.files.publish_curve(self.pricing.paid(curve))

    def _finish(self, victim: ServedVictim, extraction: FinishedExtraction, started: float) -> None:
        """The curve that is paid for, the trace, the result."""
        whole = self.pricing.curve(extraction)
        curve = self.pricing.paid(whole)
        self.files.publish_curve(curve)
        self.files.keep_trace(extraction, self.pricing, int(curve["queries"].iloc[-1]))
        self.files.keep_hits(extraction.rounds[: len(curve)], len(self.cell.data.test))
        result = cell_result(self.pricing, curve, victim, extraction, started)
        result["gave_up"] = not curve.equals(whole)
        result["honest"] = UtilityLoss(self.cell, victim).get()
        result["transferability"] = (
            None if result["gave_up"] else transferability(self.cell, victim, extraction)
        )
        self.files.publish_result(result, extraction.trace_path.with_name("substitute.pt"))
        _log_end(result, curve)


def _log_end(result: dict[str, Any], curve: pd.DataFrame) -> None:
    last = curve.iloc[-1]
    log.info(
        "%s on %s: accuracy %.2f %%, fidelity %.2f %% after %d queries; %.4g s, %s",
        result["attack"],
        result["dataset"],
        100 * last.accuracy,
        100 * last.fidelity,
        last.queries,
        last.total_seconds,
        "without work" if last.overhead == 1 else f"{last.overhead:.3g} times the time without work",
    )
