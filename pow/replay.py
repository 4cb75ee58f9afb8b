"""A recorded trace under a calibration: what it would have cost.

    python -m pow.replay TRACE --calibration paper --dataset mnist [--benign FILE] [--out FILE] [OVERRIDES]

TRACE is a run's trace.parquet or a CSV in the format of the proof-of-work paper's authors. OVERRIDES change
options of the calibration: pow_calibration.request_size=64. The expectation is that of --benign (an honest
user's trace of either kind), else the calibration's or the data set's published one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from pow.calibration import Calibration, LinearExpectation
from pow.calibration.fitted import FittedCalibration, fit_to_users
from pow.calibration.paper import PaperCalibration
from pow.honest_users import HonestUsers
from pow.requests import Scope, ScopeName, charge
from pow.traces import read_authors_trace, read_query_trace, split_over_accounts

CONFIG = Path(__file__).resolve().parents[1] / "conf"
REQUEST_QUERIES = 64
"""Queries in a request of the latency profile (`dataset.request_seconds`)."""


def replay_authors(trace: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """The trace of `read_authors_trace`, each row a request, with `time_pow`, `overhead`, `expected_hashes`.

    time_pow: cumulative seconds with proof of work. A row without queries, which opens the authors' traces,
    is charged under their own calibration as one of no cost, less a second, as they do; under others nothing.
    """
    queries = trace["queries"].to_numpy()
    opening = queries == 0
    extra = calibration.seconds(np.where(opening, 0, trace["privacy"].to_numpy()), queries)
    hashes = calibration.expected_hashes(extra)
    authors = isinstance(calibration, PaperCalibration)
    extra = np.where(opening, extra - 1 if authors else 0.0, extra)
    hashes = np.where(opening, 0.0, hashes)
    return _with_work(trace.copy(), extra, hashes)


def replay_queries(
    trace: pd.DataFrame,
    cost: str,
    calibration: Calibration,
    request_seconds: float,
    mode: str,
    scope: Scope,
) -> pd.DataFrame:
    """The same columns for a trace with a row a query, grouped into requests of the calibration's size.

    Costs are summed over accounts as `scope` says. `request_seconds` is the time of a request of 64 queries
    without work.
    """
    account, round = trace["account"].to_numpy(), trace["round"].to_numpy()
    payer = scope.payer(account)
    cumulative = trace.groupby(payer)[f"cost_{cost}"].cumsum().to_numpy()
    bill = charge(calibration, account, round, cumulative, payer)
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
        costs = read_query_trace(path, cost)[f"cost_{cost}"].to_numpy()
        return LinearExpectation.fit(np.arange(1, len(costs) + 1), costs.cumsum())
    trace = read_authors_trace(path)
    return LinearExpectation.fit(trace["queries"].to_numpy(), trace["privacy"].to_numpy())


def configured(options: argparse.Namespace) -> tuple[Calibration, float]:
    """The calibration by its config file, and the data set's seconds for a request of 64 queries."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    overrides = [f"dataset={options.dataset}", f"pow_calibration={options.calibration}", *options.overrides]
    if options.strength is not None:
        overrides.append(f"pow_calibration.strength={options.strength}")
    with initialize_config_dir(str(CONFIG), version_base=None):
        config = compose("config", overrides)
    node = dict(OmegaConf.to_container(config.pow_calibration, resolve=True))  # type: ignore[arg-type]
    published, users = node.pop("expected") or config.dataset.benign_cost, node.pop("users", None)
    make: Callable[..., Calibration] = instantiate(node, _convert_="all")
    request_seconds = float(config.dataset.request_seconds)
    if users is not None:
        return fitted(make, instantiate(users, _convert_="all"), options), request_seconds
    if options.benign is None and not published:
        raise ValueError(f"{options.dataset} has no published expectation: name an honest trace by --benign")
    expected = expectation(options.benign, options.cost) if options.benign else LinearExpectation(**published)
    return make(expected=expected), request_seconds


def fitted(make: Callable[..., Calibration], users: HonestUsers, options: argparse.Namespace) -> Calibration:
    """A calibration fitted to honest users who draw from the queries of --benign; says what it guarantees."""
    unfitted = make(expected=LinearExpectation(0.0, 0.0))
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
    """All rows of the trace, priced, with the data set's name in front."""
    calibration, request_seconds = configured(options)
    if options.trace.suffix == ".parquet":
        trace = read_query_trace(options.trace, options.cost)
        mode = options.trace.absolute().parent.name
        if options.accounts is not None:
            trace = split_over_accounts(trace, options.accounts)
        scope = Scope(options.scope, options.subnet_size)
        rows = replay_queries(trace, options.cost, calibration, request_seconds, mode, scope)
    else:
        rows = replay_authors(read_authors_trace(options.trace), calibration)
    rows.insert(0, "dataset", options.dataset)
    return rows


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
    names = sorted(path.stem for path in (CONFIG / "pow_calibration").glob("*.yaml"))
    datasets = sorted(path.stem for path in (CONFIG / "dataset").glob("*.yaml"))
    parser.add_argument("trace", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="option=value")
    parser.add_argument("--calibration", choices=names, default="paper")
    parser.add_argument("--dataset", choices=datasets, default="mnist")
    parser.add_argument("--strength", type=float)
    parser.add_argument("--cost", default="pate", help="the measure of our traces that is charged")
    parser.add_argument("--accounts", type=int, help="share our traces' queries over so many accounts")
    parser.add_argument("--scope", choices=get_args(ScopeName), default="account", help="whose costs add up")
    parser.add_argument("--subnet-size", type=int, default=256, help="accounts in a subnet")
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
    Console(width=110).print(summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
