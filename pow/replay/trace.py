"""A whole trace, priced again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pyarrow import parquet

from pow.calibration import REQUEST_QUERIES, Calibration
from pow.evasion.asking import Pricelist, cheapest_row
from pow.hardware import Hardware
from pow.pricing import composed_groups, make_pricing
from pow.puzzles.settings import PuzzleSettings
from pow.replay.asked import Replay, completed
from pow.replay.calibrated import calibrated
from pow.replay.evaded import replay_evaded
from pow.replay.requests import replay_authors, replay_queries
from pow.requests import Scope
from pow.traces import read_authors_trace, read_query_trace, split_over_accounts
from storage.options import check_number, instantiate


def replay(asked: Replay) -> pd.DataFrame:
    """All rows of the trace, priced, with the data set's name in front and the hardware's bills behind.

    Raises:
        ValueError, OSError: naming what cannot be priced.
        HydraException: for an override that the config does not take.
    """
    _check_files(asked)
    asked = completed(asked)
    config = composed(asked)
    pricing = make_pricing(config)
    calibration = calibrated(pricing, config["dataset"]["benign_cost"], asked)
    if asked.surcharge is not None:
        check_surcharge(asked, asked.surcharge)
    if asked.trace.suffix == ".parquet":
        rows = _replay_ours(asked, calibration, pricing.puzzle, config["dataset"]["request_seconds"])
    elif asked.evade != "none" or asked.account_seconds:
        raise ValueError("--evade and --account-seconds need a row a query, as a run's trace.parquet has it")
    else:
        rows = replay_authors(read_authors_trace(asked.trace), calibration, pricing.puzzle)
    rows.insert(0, "dataset", asked.dataset)
    for name, node in config["bills"].items():
        add_bill(rows, instantiate(node, f"--hardware {name}"), pricing.puzzle)
    return rows


def _check_files(asked: Replay) -> None:
    for flag, path in (("TRACE", asked.trace), ("--benign", asked.benign)):
        if path is not None and not path.is_file():
            raise ValueError(f"{flag} {path}: there is no such file")
    if asked.config_dir is not None and not asked.config_dir.is_dir():
        raise ValueError(f"--config-dir {asked.config_dir}: there is no such folder")
    check_number("--seed", asked.seed, 0, whole=True)


def composed(asked: Replay) -> dict[str, Any]:
    """The config of what is asked for, resolved; under `bills` each hardware that is asked for."""
    overrides = [f"dataset={asked.dataset}", f"pow_calibration={asked.calibration}", *asked.overrides]
    overrides += [f"+hardware@bills.{name}={name}" for name in asked.hardware]
    if asked.config_dir is not None:
        overrides.append(f"hydra.searchpath=[file://{asked.config_dir.absolute()}]")
    return composed_groups(overrides)


def _replay_ours(
    asked: Replay, calibration: Calibration, puzzle: PuzzleSettings, request_seconds: float
) -> pd.DataFrame:
    trace = read_query_trace(asked.trace, str(asked.cost))
    mode = asked.trace.absolute().parent.name
    if asked.accounts is not None:
        trace = split_over_accounts(trace, asked.accounts)
    prices = replay_prices(asked, calibration, puzzle, request_seconds)
    factor = np.where(trace["alarm"], asked.surcharge or 1.0, 1.0) if "alarm" in trace else None
    if asked.evade == "none":
        return replay_queries(trace, prices, mode, factor)
    pad = cheapest_row(prices.column, trace, *_at_hand(asked))
    return replay_evaded(trace, prices, asked.evade, mode, pad, factor)


def replay_prices(
    asked: Replay, calibration: Calibration, puzzle: PuzzleSettings, request_seconds: float
) -> Pricelist:
    """Return what the attacker of a trace is charged by, whose costs add up plainly.

    Raises ValueError for a price or a patience below 0, or not finite.
    """
    account_seconds = asked.account_seconds or 0.0
    for flag, value in (("account", account_seconds), ("patience", asked.patience_days)):
        if not 0 <= value < np.inf:
            unit = "seconds" if flag == "account" else "days"
            raise ValueError(f"--{flag}-{unit} must be at least 0, and finite, not {value:g}")
    column = f"cost_{asked.cost}"
    return Pricelist(
        calibration=calibration,
        puzzle=puzzle,
        cost=lambda rows: rows[column].to_numpy().cumsum(),
        column=column,
        own_seconds=request_seconds / REQUEST_QUERIES,
        account_seconds=account_seconds,
        scope=Scope(asked.scope or "account", asked.subnet_size),
        patience_days=asked.patience_days if asked.evade == "best" else 0.0,
    )


def _at_hand(asked: Replay) -> list[pd.DataFrame]:
    """The honest user's queries, which an attacker may pad with."""
    if asked.benign is None or asked.benign.suffix != ".parquet":
        return []
    return [read_query_trace(asked.benign, str(asked.cost))]


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
