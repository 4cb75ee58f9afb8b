"""A recorded trace under a calibration: what it would have cost.

    python -m pow.replay TRACE --calibration paper --dataset mnist [--hardware NAME] [--out FILE] [OVERRIDES]

TRACE is a run's trace.parquet or a CSV in the format of the proof-of-work paper's authors. OVERRIDES change
options of the calibration or the puzzle: pow_calibration.request_size=64, puzzle=argon2id. The expectation is
that of --benign (an honest user's trace of either kind), else the calibration's or the data set's published
one. --hardware NAME bills the work on a file of conf/hardware.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from pow.calibration import REQUEST_QUERIES, Calibration, LinearExpectation
from pow.calibration.fitted import FittedCalibration, fit_to_users
from pow.calibration.paper import PaperCalibration
from pow.hardware import Hardware
from pow.honest_users import HonestUsers
from pow.pricing import Pricing, make_pricing
from pow.puzzles.settings import PuzzleSettings
from pow.requests import Scope, ScopeName, charge
from pow.traces import read_authors_trace, read_query_trace, split_over_accounts
from storage.options import instantiate

CONFIG = Path(__file__).resolve().parents[1] / "conf"


def replay_authors(trace: pd.DataFrame, calibration: Calibration, puzzle: PuzzleSettings) -> pd.DataFrame:
    """The trace of `read_authors_trace`, each row a request, with `time_pow`, `overhead`, `expected_hashes`.

    time_pow: cumulative seconds with proof of work. A row without queries, which opens the authors' traces,
    is charged under their own calibration as one of no cost, less a second, as they do; under others nothing.
    """
    queries = trace["queries"].to_numpy()
    opening = queries == 0
    extra = calibration.seconds(np.where(opening, 0, trace["privacy"].to_numpy()), queries)
    hashes = puzzle.expected_hashes(calibration.expected_hashes(extra))
    authors = isinstance(calibration, PaperCalibration)
    extra = np.where(opening, extra - 1 if authors else 0.0, extra)
    hashes = np.where(opening, 0.0, hashes)
    return _with_work(trace.copy(), extra, hashes)


def replay_queries(
    trace: pd.DataFrame,
    cost: str,
    calibration: Calibration,
    puzzle: PuzzleSettings,
    request_seconds: float,
    mode: str,
    scope: Scope,
    surcharge: float = 1.0,
) -> pd.DataFrame:
    """The same columns for a trace with a row a query, grouped into requests of the calibration's size.

    Costs are summed over accounts as `scope` says. `request_seconds` is the time of a request of 64 queries
    without work. `surcharge` multiplies the toll of an account from its alarm on, if the trace has alarms.
    """
    account, round = trace["account"].to_numpy(), trace["round"].to_numpy()
    payer = scope.payer(account)
    cumulative = trace.groupby(payer)[f"cost_{cost}"].cumsum().to_numpy()
    factor = np.where(trace["alarm"], surcharge, 1.0) if "alarm" in trace else None
    bill = charge(calibration, puzzle, account, round, cumulative, payer, factor)
    queries = bill["queries"].cumsum()
    rows = pd.DataFrame(
        {
            "mode": mode,
            "row": range(len(bill)),
            "time": queries / REQUEST_QUERIES * request_seconds,
            "queries": queries,
            "privacy": trace[f"cost_{cost}"].cumsum().to_numpy()[queries - 1],
        }
    )
    return _with_work(rows, bill["seconds"].to_numpy(), bill["expected_hashes"].to_numpy())


def _with_work(rows: pd.DataFrame, seconds: np.ndarray, hashes: np.ndarray) -> pd.DataFrame:
    work = pd.DataFrame({"seconds": seconds, "hashes": hashes, "mode": rows["mode"].to_numpy()})
    totals = work.groupby("mode", sort=False)[["seconds", "hashes"]].cumsum()
    rows["time_pow"] = rows["time"].to_numpy() + totals["seconds"].to_numpy()
    rows["overhead"] = rows["time_pow"] / rows["time"]
    rows["expected_hashes"] = totals["hashes"].to_numpy()
    return rows


def expectation(path: Path, cost: str) -> LinearExpectation:
    """The line through an honest user's cumulative cost, from a trace of either kind."""
    if path.suffix == ".parquet":
        trace = read_query_trace(path, cost)
        if "corrupted" in trace:  # as honest users' images in the store are
            trace = trace[~trace["corrupted"]]
        costs = trace[f"cost_{cost}"].to_numpy()
        return LinearExpectation.fit(np.arange(1, len(costs) + 1), costs.cumsum())
    rows = read_authors_trace(path)
    return LinearExpectation.fit(rows["queries"].to_numpy(), rows["privacy"].to_numpy())


def configured(options: argparse.Namespace) -> tuple[Calibration, PuzzleSettings, float]:
    """The calibration, the puzzle, and the data set's seconds for a request of 64 queries."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    overrides = [f"dataset={options.dataset}", f"pow_calibration={options.calibration}", *options.overrides]
    if options.strength is not None:
        overrides.append(f"pow_calibration.strength={options.strength}")
    with initialize_config_dir(str(CONFIG), version_base=None):
        config = compose("config", overrides)
    groups = ("pow_calibration", "puzzle", "hardware", "honest_hardware", "reference_client")
    pricing = make_pricing({name: OmegaConf.to_container(config[name], resolve=True) for name in groups})
    return (
        calibrated(pricing, config.dataset.benign_cost, options),
        pricing.puzzle,
        config.dataset.request_seconds,
    )


def calibrated(
    pricing: Pricing, benign_cost: Mapping[str, float] | None, options: argparse.Namespace
) -> Calibration:
    """The pricing's calibration, to an honest user as the options name one, or as the data set does."""
    if pricing.users is not None:
        return fitted(pricing, pricing.users, options)
    if options.benign is not None:
        return pricing.calibration(expected=expectation(options.benign, options.cost))
    published = pricing.published or (LinearExpectation(**benign_cost) if benign_cost else None)
    if published is None:
        raise ValueError(f"{options.dataset} has no published expectation: name an honest trace by --benign")
    return pricing.calibration(expected=published)


def fitted(pricing: Pricing, users: HonestUsers, options: argparse.Namespace) -> Calibration:
    """A calibration fitted to honest users who draw from the queries of --benign; says what it guarantees."""
    unfitted = pricing.calibration(expected=LinearExpectation(0.0, 0.0))
    assert isinstance(unfitted, FittedCalibration)
    if options.benign is None or options.benign.suffix != ".parquet":
        raise ValueError(f"--calibration {options.calibration} needs a trace.parquet by --benign")
    priced = read_query_trace(options.benign, options.cost)
    calibration, guarantee = fit_to_users(
        unfitted, users, priced, lambda rows: rows[f"cost_{options.cost}"].to_numpy().cumsum(), options.seed
    )
    print(guarantee.sentence(calibration))
    return calibration


def replay(options: argparse.Namespace) -> pd.DataFrame:
    """All rows of the trace, priced, with the data set's name in front and the hardware's bills behind."""
    calibration, puzzle, request_seconds = configured(options)
    if options.surcharge is not None:
        check_surcharge(options)
    if options.trace.suffix == ".parquet":
        trace = read_query_trace(options.trace, options.cost)
        mode = options.trace.absolute().parent.name
        if options.accounts is not None:
            trace = split_over_accounts(trace, options.accounts)
        scope = Scope(options.scope, options.subnet_size)
        rows = replay_queries(
            trace, options.cost, calibration, puzzle, request_seconds, mode, scope, options.surcharge or 1.0
        )
    else:
        rows = replay_authors(read_authors_trace(options.trace), calibration, puzzle)
    rows.insert(0, "dataset", options.dataset)
    for name in options.hardware:
        add_bill(rows, load_hardware(name), puzzle)
    return rows


def check_surcharge(options: argparse.Namespace) -> None:
    """Raise ValueError where there are no alarms to charge for, or not those of the accounts that pay."""
    if not options.surcharge >= 1:
        raise ValueError(f"--surcharge must be at least 1, not {options.surcharge:g}")
    if options.accounts is not None:
        raise ValueError("--surcharge needs the alarms of the accounts that asked, so --accounts is left out")
    if options.trace.suffix != ".parquet" or "alarm" not in parquet.read_schema(options.trace).names:
        raise ValueError(f"--surcharge needs alarms, and {options.trace} has none: no defense watched")


def load_hardware(name: str) -> Hardware:
    """The hardware of a file in conf/hardware."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONFIG), version_base=None):
        node = compose("config", [f"hardware={name}"]).hardware
    hardware: Hardware = instantiate(node, "--hardware")
    return hardware


def add_bill(rows: pd.DataFrame, hardware: Hardware, puzzle: PuzzleSettings) -> None:
    """Adds cumulative columns solve_seconds_<name>, kwh_<name>, usd_<name>."""
    bill = hardware.bill(rows["expected_hashes"].to_numpy(), puzzle)
    for figure, values in {"solve_seconds": bill.seconds, "kwh": bill.kwh, "usd": bill.usd}.items():
        rows[f"{figure}_{hardware.name}"] = values


def bills(rows: pd.DataFrame, hardware: Sequence[str]) -> Table:
    """A line a mode and hardware: the bill of its last row."""
    table = Table(title="What solving takes")
    for name in ("mode", "hardware", "seconds", "kWh", "USD"):
        table.add_column(name, justify="left" if name in ("mode", "hardware") else "right")
    for mode, row in rows.groupby("mode", sort=False).last().iterrows():
        for name in hardware:
            figures = (row[f"{figure}_{name}"] for figure in ("solve_seconds", "kwh", "usd"))
            table.add_row(str(mode), name, *(f"{value:.3g}" for value in figures))
    return table


def summary(rows: pd.DataFrame) -> Table:
    """A line a mode: its last row."""
    table = Table(title="What the trace costs with proof of work")
    for name in ("mode", "queries", "privacy cost", "seconds", "with work", "overhead", "expected hashes"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    for mode, row in rows.groupby("mode", sort=False).last().iterrows():
        table.add_row(
            str(mode),
            f"{row.queries:,.0f}",
            f"{row.privacy:,.1f}",
            *(f"{value:,.4g}" for value in (row.time, row.time_pow)),
            *(f"{value:.3g}" for value in (row.overhead, row.expected_hashes)),
        )
    return table


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pow.replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted(path.stem for path in (CONFIG / "pow_calibration").glob("[!_]*.yaml"))
    datasets = sorted(path.stem for path in (CONFIG / "dataset").glob("[!_]*.yaml"))
    parser.add_argument("trace", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="option=value")
    parser.add_argument("--calibration", choices=names, default="paper")
    parser.add_argument("--dataset", choices=datasets, default="mnist")
    parser.add_argument("--strength", type=float)
    parser.add_argument("--cost", default="pate", help="the measure of our traces that is charged")
    parser.add_argument("--accounts", type=int, help="share our traces' queries over so many accounts")
    parser.add_argument("--scope", choices=get_args(ScopeName), default="account", help="whose costs add up")
    parser.add_argument("--surcharge", type=float, help="multiplies an account's toll from its alarm on")
    parser.add_argument("--subnet-size", type=int, default=256, help="accounts in a subnet")
    parser.add_argument(
        "--hardware",
        action="append",
        default=[],
        choices=sorted(path.stem for path in (CONFIG / "hardware").glob("[!_]*.yaml")),
        help="bill the work on this hardware; may be given several times",
    )
    parser.add_argument("--benign", type=Path, help="an honest user's trace")
    parser.add_argument("--seed", type=int, default=0, help="of simulated honest users")
    parser.add_argument("--out", type=Path, help="CSV file for all rows")
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the summary and write the rows; 1 with one clear sentence for what cannot be priced."""
    from hydra.errors import HydraException

    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        rows = replay(options)
        if options.out:
            rows.to_csv(options.out, index=False)
    except (ValueError, OSError, HydraException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    console = Console(width=110)
    console.print(summary(rows))
    if options.hardware:
        console.print(bills(rows, options.hardware))
    return 0


if __name__ == "__main__":
    sys.exit(main())
