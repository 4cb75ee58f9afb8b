"""What attacks' queries cost relative to those of the standard user, in finished cells.

    python -m benchmarks.cost_ratios FOLDER... [--paper TRACE.csv]

For each data set and measure, the table has the cumulative cost of every attack's queries divided by that of
`standard`. Costs are summed and composed, from the recorded traces. `--paper` adds the figures of the
proof-of-work paper's authors for the same attacks, from a trace in their format (columns mode, diff queries
in batches of 64, privacy cost).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from experiment.pricing.curve import TraceAccounting
from privacy.accountant import Accounting, HowCostsAdd
from sweeps.report.results import CellResult, load_cells

QUERIES = (1000, 5000, 9000)
HOW: tuple[HowCostsAdd, ...] = ("summed", "composed")
PAPERS_ROW = 1000
"""Queries for which a row of the authors' traces stands; they write them as 16 batches of 64."""


def cumulative_costs(cell: CellResult) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield each measure, how its costs add up, and the cost after each query of a cell's trace."""
    trace = pd.read_parquet(cell.path / "trace.parquet")
    config = OmegaConf.load(cell.path / "config.yaml")
    for measure, node in config.privacy.measures.items():
        if "sigma" not in node:
            yield str(measure), "summed", TraceAccounting({}).cumulative(trace, str(measure))
            continue
        for how in HOW:
            accounting = TraceAccounting({str(measure): Accounting(node.sigma, node.delta, how)})
            yield str(measure), how, accounting.cumulative(trace, str(measure))


def our_costs(cells: list[CellResult]) -> pd.DataFrame:
    """Return columns dataset, attack, measure, how, queries, cost; each attack of a data set once."""
    first = {(cell.result["dataset"], cell.result["attack"]): cell for cell in reversed(cells)}
    return pd.DataFrame(
        [
            {
                "dataset": dataset,
                "attack": attack,
                "measure": measure,
                "how": how,
                "queries": queries,
                "cost": cost[queries - 1],
            }
            for (dataset, attack), cell in first.items()
            for measure, how, cost in cumulative_costs(cell)
            for queries in QUERIES
            if queries <= len(cost)
        ]
    )


def papers_costs(path: Path, dataset: str) -> pd.DataFrame:
    """Return the same columns from the authors' trace."""
    trace = pd.read_csv(path)
    rows = trace.groupby("mode", sort=False).cumcount() * PAPERS_ROW
    costs = trace.assign(queries=rows)[rows.isin(QUERIES)]
    return pd.DataFrame(
        {
            "dataset": dataset,
            "attack": costs["mode"],
            "measure": "pate",
            "how": "summed, paper",
            "queries": costs["queries"],
            "cost": costs["privacy cost"],
        }
    )


def ratios(costs: pd.DataFrame) -> pd.DataFrame:
    """Return each cost divided by that of `standard`, with a column for each number of queries."""
    same = ["dataset", "measure", "how", "queries"]
    standard = costs.loc[costs["attack"] == "standard", [*same, "cost"]]
    both = costs.merge(standard, on=same, suffixes=("", "_standard"))
    both["ratio"] = both["cost"] / both["cost_standard"]
    return both.pivot_table(
        index=["dataset", "measure", "how", "attack"], columns="queries", values="ratio", sort=False
    )


def main() -> None:
    """Compute the ratios, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--paper", type=Path)
    parser.add_argument("--paper-dataset", default="mnist")
    options = parser.parse_args()
    costs = our_costs(load_cells(options.folders))
    if options.paper:
        theirs = papers_costs(options.paper, options.paper_dataset)
        costs = pd.concat([costs, theirs[theirs["attack"].isin(costs["attack"])]])
    table = Table(title="Cumulative cost over the standard user's")
    for name in ("data set", "measure", "costs", "attack"):
        table.add_column(name)
    for queries in QUERIES:
        table.add_column(f"{queries:,} queries", justify="right")
    for key, row in ratios(costs).iterrows():
        assert isinstance(key, tuple)
        table.add_row(
            *map(str, key), *(f"{row[queries]:.3g}" if queries in row else "" for queries in QUERIES)
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
