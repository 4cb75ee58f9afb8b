"""A recorded trace under a calibration: what it would have cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import parquet
from rich.table import Table

from pow.calibration import REQUEST_QUERIES, Calibration, LinearExpectation
from pow.calibration.fitted import FittedCalibration, fit_to_users
from pow.calibration.paper import PaperCalibration
from pow.evaded import Evade, cheapest_row, replay_evaded, replay_terms, with_accounts
from pow.hardware import Hardware
from pow.honest_users import HonestUsers
from pow.pricing import Pricing, make_pricing
from pow.puzzles.settings import PuzzleSettings
from pow.requests import Scope, ScopeName, charge
from pow.traces import by_payer, read_authors_trace, read_query_trace, split_over_accounts
from storage.conf import CONF
from storage.options import instantiate


@dataclass(frozen=True)
class Replay:
    """What is priced, and how.

    Attributes:
        trace: a run's trace.parquet, or a CSV in the format of the proof-of-work paper's authors.
        dataset: a file of conf/dataset: what a request takes, and what honest users' queries cost.
        calibration: a file of conf/pow_calibration.
        overrides: of the config, such as `pow_calibration.strength=4` or `puzzle=argon2id`.
        cost: the measure of our traces that is charged.
        accounts: share our trace's queries over so many accounts; None: as recorded.
        scope: whose costs add up, with `subnet_size` accounts in a subnet.
        surcharge: multiplies an account's toll from its alarm on; None: alarms change nothing.
        evade: how the attacker of our trace evades the toll, as attack.evade.
        account_seconds: price of each account of our trace, in seconds of the reference client.
        hardware: files of conf/hardware on which the work is billed.
        benign: an honest user's trace of either kind; None: the published expectation.
        seed: of simulated honest users.
        config_dir: a folder of one's own beside conf/.
    """

    trace: Path
    dataset: str = "mnist"
    calibration: str = "paper"
    overrides: Sequence[str] = ()
    cost: str = "pate"
    accounts: int | None = None
    scope: ScopeName = "account"
    subnet_size: int = 256
    surcharge: float | None = None
    evade: Evade = "none"
    account_seconds: float = 0.0
    hardware: Sequence[str] = ()
    benign: Path | None = None
    seed: int = 0
    config_dir: Path | None = None


def replay_authors(trace: pd.DataFrame, calibration: Calibration, puzzle: PuzzleSettings) -> pd.DataFrame:
    """The trace of `read_authors_trace`, each row a request, with what its queries and its work add up to.

    The columns query_seconds, pow_seconds, total_seconds, overhead and expected_hashes are cumulative as in
    curve.csv; time and time_pow are the authors' names of the first and of the third. A row without queries,
    which opens the authors' traces, is charged under their own calibration as one of no cost, less a second,
    as they do; under others it is charged nothing.
    """
    queries = trace["queries"].to_numpy()
    opening = queries == 0
    cost = np.where(opening, 0, trace["privacy"].to_numpy())
    extra = calibration.charged(_before(trace, cost), cost, queries, np.ones(len(trace), dtype=bool))
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
    account_seconds: float = 0.0,
) -> pd.DataFrame:
    """The same columns for a trace with a row a query, grouped into requests of the calibration's size.

    Costs are summed over accounts as `scope` says. `request_seconds` is the time of a request of 64 queries
    without work. `surcharge` multiplies the toll of an account from its alarm on, if the trace has alarms. An
    account's first request has the price of the account, `account_seconds` of the reference client.
    """
    account, round = trace["account"].to_numpy(), trace["round"].to_numpy()
    payer = scope.payer(account)
    terms = replay_terms(calibration, puzzle, cost, request_seconds, scope, account_seconds)
    cumulative = by_payer(calibration.charged_total(terms.cost), trace, payer)
    bill = charge(calibration, puzzle, account, round, cumulative, payer, _factor(trace, surcharge))
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
    return _with_work(rows, *with_accounts(bill, terms))


def _factor(trace: pd.DataFrame, surcharge: float) -> np.ndarray | None:
    """What multiplies the toll of each query, float64 `[n]`; None without alarms."""
    return np.where(trace["alarm"], surcharge, 1.0) if "alarm" in trace else None


def _before(trace: pd.DataFrame, cost: np.ndarray) -> np.ndarray:
    """What each mode had cost before each of its rows, float64 `[n]`."""
    before: np.ndarray = pd.Series(cost).groupby(trace["mode"].to_numpy()).shift(fill_value=0.0).to_numpy()
    return before


def _with_work(rows: pd.DataFrame, seconds: np.ndarray, hashes: np.ndarray) -> pd.DataFrame:
    work = pd.DataFrame({"seconds": seconds, "hashes": hashes, "mode": rows["mode"].to_numpy()})
    totals = work.groupby("mode", sort=False)[["seconds", "hashes"]].cumsum()
    rows["time_pow"] = rows["time"].to_numpy() + totals["seconds"].to_numpy()
    rows["query_seconds"] = rows["time"]
    rows["pow_seconds"] = totals["seconds"].to_numpy()
    rows["total_seconds"] = rows["time_pow"]
    rows["overhead"] = rows["total_seconds"] / rows["query_seconds"]
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


def composed(asked: Replay) -> dict[str, Any]:
    """The config of what is asked for, resolved; under `bills` each hardware that is asked for."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    overrides = [f"dataset={asked.dataset}", f"pow_calibration={asked.calibration}", *asked.overrides]
    overrides += [f"+hardware@bills.{name}={name}" for name in asked.hardware]
    if asked.config_dir is not None:
        overrides.append(f"hydra.searchpath=[file://{asked.config_dir.absolute()}]")
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("config", overrides)
    groups = (
        "pow_calibration",
        "puzzle",
        "hardware",
        "honest_hardware",
        "reference_client",
        "dataset",
        "attack",
    )
    plain = {name: OmegaConf.to_container(config[name], resolve=True) for name in groups}
    return plain | {"bills": OmegaConf.to_container(config.get("bills", OmegaConf.create()), resolve=True)}


def calibrated(pricing: Pricing, benign_cost: Mapping[str, float] | None, asked: Replay) -> Calibration:
    """The pricing's calibration, to the honest user that is named, or to the data set's."""
    if pricing.users is not None:
        return fitted(pricing, pricing.users, asked)
    if asked.benign is not None:
        return pricing.calibration(expected=expectation(asked.benign, asked.cost))
    published = pricing.published or (LinearExpectation(**benign_cost) if benign_cost else None)
    if published is None:
        raise ValueError(f"{asked.dataset} has no published expectation: name an honest trace by --benign")
    return pricing.calibration(expected=published)


def fitted(pricing: Pricing, users: HonestUsers, asked: Replay) -> Calibration:
    """A calibration fitted to honest users who draw from the queries of --benign; says what it guarantees."""
    unfitted = pricing.calibration(expected=LinearExpectation(0.0, 0.0))
    assert isinstance(unfitted, FittedCalibration)
    if asked.benign is None or asked.benign.suffix != ".parquet":
        raise ValueError(f"--calibration {asked.calibration} needs a trace.parquet by --benign")
    priced = read_query_trace(asked.benign, asked.cost)
    calibration, guarantee = fit_to_users(
        unfitted, users, priced, lambda rows: rows[f"cost_{asked.cost}"].to_numpy().cumsum(), asked.seed
    )
    print(guarantee.sentence(calibration))
    return calibration


def replay(asked: Replay) -> pd.DataFrame:
    """All rows of the trace, priced, with the data set's name in front and the hardware's bills behind.

    Raises:
        ValueError, OSError: naming what cannot be priced.
        HydraException: for an override that the config does not take.
    """
    config = composed(asked)
    pricing = make_pricing(config)
    calibration = calibrated(pricing, config["dataset"]["benign_cost"], asked)
    if asked.surcharge is not None:
        check_surcharge(asked, asked.surcharge)
    if asked.trace.suffix == ".parquet":
        rows = _replay_ours(asked, calibration, pricing.puzzle, config)
    elif asked.evade != "none" or asked.account_seconds:
        raise ValueError("--evade and --account-seconds need a row a query, as a run's trace.parquet has it")
    else:
        rows = replay_authors(read_authors_trace(asked.trace), calibration, pricing.puzzle)
    rows.insert(0, "dataset", asked.dataset)
    for name, node in config["bills"].items():
        add_bill(rows, instantiate(node, f"--hardware {name}"), pricing.puzzle)
    return rows


def _replay_ours(
    asked: Replay, calibration: Calibration, puzzle: PuzzleSettings, config: Mapping[str, Any]
) -> pd.DataFrame:
    trace = read_query_trace(asked.trace, asked.cost)
    mode = asked.trace.absolute().parent.name
    if asked.accounts is not None:
        trace = split_over_accounts(trace, asked.accounts)
    scope, seconds = Scope(asked.scope, asked.subnet_size), config["dataset"]["request_seconds"]
    surcharge, price = asked.surcharge or 1.0, asked.account_seconds
    if asked.evade == "none":
        return replay_queries(trace, asked.cost, calibration, puzzle, seconds, mode, scope, surcharge, price)
    patience = config["attack"]["patience_days"] if asked.evade == "best" else 0.0
    terms = replay_terms(calibration, puzzle, asked.cost, seconds, scope, price, patience)
    pad = cheapest_row(terms.column, trace, *_at_hand(asked))
    return replay_evaded(trace, terms, asked.evade, mode, pad, _factor(trace, surcharge))


def _at_hand(asked: Replay) -> list[pd.DataFrame]:
    """The honest user's queries, which an attacker may pad with."""
    ours = asked.benign is not None and asked.benign.suffix == ".parquet"
    return [read_query_trace(asked.benign, asked.cost)] if asked.benign is not None and ours else []


def check_surcharge(asked: Replay, surcharge: float) -> None:
    """Raise ValueError where there are no alarms to charge for, or not those of the accounts that pay."""
    if not surcharge >= 1:
        raise ValueError(f"--surcharge must be at least 1, not {surcharge:g}")
    if asked.accounts is not None:
        raise ValueError("--surcharge needs the alarms of the accounts that asked, so --accounts is left out")
    if asked.trace.suffix != ".parquet" or "alarm" not in parquet.read_schema(asked.trace).names:
        raise ValueError(f"--surcharge needs alarms, and {asked.trace} has none: no defense watched")


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


def responses(rows: pd.DataFrame) -> Table:
    """A line a mode: how the attacker asks all its queries."""
    table = Table(title="How the attacker asks")
    for name in ("mode", "strategy", "accounts", "pads", "request size"):
        table.add_column(name, justify="left" if name in ("mode", "strategy") else "right")
    for mode, row in rows.groupby("mode", sort=False).last().iterrows():
        figures = (row.accounts, row.pads, row.request_size)
        table.add_row(str(mode), row.strategy, *(f"{value:,}" for value in figures))
    return table
