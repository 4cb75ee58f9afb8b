"""How long an attacker's best response takes, over one bill of the queries as they were recorded.

    python -m benchmarks.best_response [--queries 9000] [--times 20]

The trace is made up. Under the progressive calibration 1,000 responses must take less than a minute.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from pow.calibration import Calibration, LinearExpectation
from pow.calibration.paper import PaperCalibration
from pow.calibration.progressive import ProgressiveCalibration
from pow.evasion.asking import Pricelist
from pow.evasion.best_response import best_responses
from pow.gains.coverage import CoverageGain
from pow.gains.excess import ExcessGain
from pow.gains.volume import VolumeGain
from pow.puzzles import PuzzleSettings, Sha256Puzzle
from pow.requests import charge
from pow.traces import by_payer

PUZZLE = PuzzleSettings(Sha256Puzzle)
GAINS = {"excess": ExcessGain(threshold=0.5), "volume": VolumeGain(), "coverage": CoverageGain()}
CALIBRATIONS: dict[str, Calibration] = {
    "progressive": ProgressiveCalibration(GAINS, steepness=0.06),
    "paper": PaperCalibration(LinearExpectation(0.4, 0.0)),
}


def made_up_trace(queries: int) -> pd.DataFrame:
    """Return a trace of one account in nine rounds, dearer than what is expected."""
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "round": np.arange(queries) * 9 // queries,
            "account": 0,
            "cost_pate": random.random(queries),
            "bucket": random.integers(0, 256, queries),
        }
    )


def cost(rows: pd.DataFrame) -> np.ndarray:
    """Add up one payer's costs."""
    return rows["cost_pate"].to_numpy().cumsum()


def recorded(trace: pd.DataFrame, calibration: Calibration) -> float:
    """Return the seconds of work of the queries as they were recorded."""
    account, round = trace["account"].to_numpy(), trace["round"].to_numpy()
    total = by_payer(calibration.charged_total(cost), trace, account)
    return float(charge(calibration, PUZZLE, account, round, total, account)["seconds"].sum())


def cheapest(trace: pd.DataFrame, calibration: Calibration) -> float:
    """Return the seconds of work of the best response."""
    prices = Pricelist(calibration, PUZZLE, cost, "cost_pate", 0.46 / 64, account_seconds=1.0)
    return best_responses(trace, [len(trace)], prices)[0].seconds


def median_seconds(work: Callable[[], object], times: int) -> float:
    """Return the median time that a call takes."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=9000)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    trace = made_up_trace(options.queries)
    table = Table(title=f"The best response to a toll on {options.queries:,} queries")
    for name in ("calibration", "ms as recorded", "ms", "ratio", "s for 1,000", "share of the bill"):
        table.add_column(name, justify="left" if name == "calibration" else "right")
    for name, calibration in CALIBRATIONS.items():
        one = median_seconds(partial(recorded, trace, calibration), options.times)
        best = median_seconds(partial(cheapest, trace, calibration), options.times)
        share = cheapest(trace, calibration) / recorded(trace, calibration)
        figures = (f"{1000 * one:.1f}", f"{1000 * best:.1f}", f"{best / one:.1f}", f"{1000 * best:.1f}")
        table.add_row(name, *figures, f"{share:.3g}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
