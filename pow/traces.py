"""Recorded traces: ours, a row a query, and the paper authors' CSV, a row a request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

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
"""Both spellings of the columns in the authors' files, and our name for each."""

QUERIES_A_BATCH = 62.5
"""Queries that the authors' `diff queries` counts as one: they write 1,000 queries as 16 batches of 64."""


def read_authors_trace(path: Path) -> pd.DataFrame:
    """Columns mode, row, time (s), queries, privacy and, where given, accuracy (%); cumulative in each mode.

    Raises ValueError that names the file and what is missing.
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
    """Our trace.parquet: round, account and the column `cost_<cost>`, a row a query in the order asked.

    Raises ValueError that names the measures there are.
    """
    trace = pd.read_parquet(path)
    measures = [name.removeprefix("cost_") for name in trace.columns if name.startswith("cost_")]
    if cost not in measures:
        raise ValueError(f"{path} has no measure {cost!r}; it has {', '.join(measures) or 'none'}")
    return trace


def split_over_accounts(trace: pd.DataFrame, accounts: int) -> pd.DataFrame:
    """The trace as if each round's queries had been shared evenly over so many accounts, in order.

    Exact for a defense that answers all accounts alike. Raises ValueError for fewer than one account.
    """
    if accounts < 1:
        raise ValueError(f"--accounts must be at least 1, not {accounts}")
    account = np.empty(len(trace), dtype=np.int64)
    for rows in trace.groupby("round", sort=False).indices.values():
        for number, share in enumerate(np.array_split(rows, accounts)):
            account[share] = number
    return trace.assign(account=account)
