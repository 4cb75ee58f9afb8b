"""Reads recorded traces: ours, one row per query, and the paper authors' CSV, one row per request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pow.honest_users import Cumulative

COLUMNS = {
    "time (sec)": "time",
    "privacy cost": "privacy",
    "mode": "mode",
    "time": "time",
    "privacy": "privacy",
    "accuracy": "accuracy",
    "diff queries": "batches",
    "queries": "queries",
}
"""Our name for each column of the authors' files, which come in two spellings."""

QUERIES_A_BATCH = 62.5
"""Queries in one `diff queries` of the authors, who write 1,000 queries as 16 batches of 64."""


def read_authors_trace(path: Path) -> pd.DataFrame:
    """Read a trace of the paper's authors.

    Returns:
        Columns mode, row, time (seconds), queries, privacy and, if given, accuracy (%). Figures are
        cumulative within each mode.

    Raises:
        ValueError: The file is not such a trace; the message names the file and what is missing.
    """
    try:
        raw = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from error
    trace = raw.rename(columns={name: COLUMNS.get(name.strip(), name) for name in raw.columns})
    _check(path, trace)
    if "mode" not in trace:
        trace["mode"] = path.stem
    groups = trace.groupby("mode", sort=False)
    if "queries" not in trace:
        batches = groups["batches"].cumsum() - groups["batches"].transform("first")
        trace["queries"] = batches * QUERIES_A_BATCH  # the authors' rows start at 0, whatever the first says
    trace["row"] = groups.cumcount()
    kept = ["mode", "row", "time", "queries", "privacy", "accuracy"]
    return trace[[name for name in kept if name in trace]]


def _check(path: Path, trace: pd.DataFrame) -> None:
    missing = [name for name in ("time", "privacy") if name not in trace]
    if "queries" not in trace and "batches" not in trace:
        missing.append("queries (or diff queries)")
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(trace.columns)}")
    if trace.empty:
        raise ValueError(f"{path} holds no rows")
    for name in ("time", "privacy", "queries", "batches"):
        if name in trace and not pd.api.types.is_numeric_dtype(trace[name]):
            raise ValueError(f"{path}: column {name} is not numeric")
        if name in trace and trace[name].isna().any():
            raise ValueError(f"{path}: column {name} has an empty cell")


def read_query_trace(path: Path, cost: str) -> pd.DataFrame:
    """Read our trace.parquet: one row per query in the order asked, with round, account and `cost_<cost>`.

    Raises ValueError, naming the measures there are, if `cost` is not among them.
    """
    trace = pd.read_parquet(path)
    measures = [name.removeprefix("cost_") for name in trace.columns if name.startswith("cost_")]
    if cost not in measures:
        raise ValueError(f"{path} has no measure {cost!r}; it has {', '.join(measures) or 'none'}")
    return trace


def split_over_accounts(trace: pd.DataFrame, accounts: int) -> pd.DataFrame:
    """Share each round's queries evenly, in order, over so many accounts.

    The result equals a recorded trace if the defense answers all accounts alike. Raises ValueError for fewer
    than one account.
    """
    if accounts < 1:
        raise ValueError(f"--accounts must be at least 1, not {accounts}")
    account = np.empty(len(trace), dtype=np.int64)
    for rows in trace.groupby("round", sort=False).indices.values():
        for number, share in enumerate(np.array_split(rows, accounts)):
            account[share] = number
    return trace.assign(account=account)


def by_payer(charged: Cumulative, trace: pd.DataFrame, payer: np.ndarray) -> np.ndarray:
    """What is charged of each row and its payer's rows before it, float64 `[n]`, for payers `[n]`."""
    cumulative = np.empty(len(trace))
    for rows in trace.groupby(payer, sort=False).indices.values():
        cumulative[rows] = charged(trace.iloc[rows])
    return cumulative
