"""A sweep beside published figures: which of them it agrees with, which not, and which it does not have.

A file of published figures is a CSV with a row a figure: dataset, attack, defense (as tables name them;
empty: any), queries, figure (a column of tables, or of the curves), published, tolerance (in the figure's own
unit, or a percentage of it) and source.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from storage.files import write_atomically, write_text
from sweeps.report.frames import Sweep
from sweeps.report.means import over_seeds, points

SHIPPED = Path(__file__).parent
"""Files of published figures that come with the project, to be named without their path."""

COLUMNS = ("dataset", "attack", "defense", "queries", "figure", "published", "tolerance", "source")


def read_published(name: str) -> pd.DataFrame:
    """Published figures from a file, or of that name from those that come with the project.

    Raises:
        ValueError: There is no such file, or it is not such a CSV; the message names the option --against.
    """
    path = Path(name) if Path(name).is_file() else SHIPPED / f"{name}.csv"
    if not path.is_file():
        known = ", ".join(sorted(it.stem for it in SHIPPED.glob("*.csv")))
        raise ValueError(f"--against {name} is neither a file nor one of {known}")
    try:
        figures = pd.read_csv(path, dtype={"defense": str, "tolerance": str}, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"--against {name} is no CSV: {error}") from error
    if missing := [column for column in COLUMNS if column not in figures]:
        raise ValueError(f"--against {name} lacks the columns {', '.join(missing)}")
    try:
        published = figures["published"].astype(float)
        margin = [_margin(*pair) for pair in zip(figures["tolerance"], published, strict=True)]
        return figures.assign(published=published, margin=margin, queries=figures["queries"].astype(int))
    except ValueError as error:
        raise ValueError(
            f"--against {name}: queries, published and tolerance must be numbers: {error}"
        ) from error


def _margin(tolerance: str, published: float) -> float:
    """How far a figure may lie from the published one, by `0.02` or by `25%`."""
    if tolerance.endswith("%"):
        return abs(published) * float(tolerance[:-1]) / 100
    return float(tolerance)


def compared(sweep: Sweep, published: pd.DataFrame) -> pd.DataFrame:
    """Each published figure beside the sweep's, in the order of the file.

    Args:
        sweep: Its means over seeds are compared, after as many queries.
        published: What `read_published` gives.

    Returns:
        A row for each figure and each setup of the sweep that it is of: the file's columns, `setup`,
        what tells the setup from others, `seeds`, `ours`, `interval`, half of the 95 % one, NaN without, and
        `verdict`: agrees, where ours lies within the tolerance or its own interval of the published one;
        differs; or missing, where the sweep has no such figure after so many queries.
    """
    tables = {queries: _means(sweep, queries) for queries in published["queries"].unique()}
    rows: list[dict[Any, Any]] = []
    for figure in published.to_dict("records"):
        found = _matching(tables[figure["queries"]], figure)
        told = [_row(figure, setup, sweep) for setup in found.to_dict("records")]
        rows += told or [figure | {"setup": "", "seeds": 0, "verdict": "missing"}]
    shown = [*COLUMNS[:-1], "setup", "seeds", "ours", "interval", "verdict", "source"]
    return pd.DataFrame(rows).reindex(columns=shown)


def _means(sweep: Sweep, queries: int) -> pd.DataFrame:
    return over_seeds(points(sweep, [int(queries)]), sweep.names)


def _matching(table: pd.DataFrame, figure: dict[Any, Any]) -> pd.DataFrame:
    """The setups of a table that have the figure."""
    name = figure["figure"]
    if table.empty or name not in table:
        return table.iloc[:0]
    fits = (
        (table["dataset"] == figure["dataset"]) & (table["attack"] == figure["attack"]) & table[name].notna()
    )
    return table[fits & ((table["defense"] == figure["defense"]) | (figure["defense"] == ""))]


def _row(figure: dict[Any, Any], setup: dict[Any, Any], sweep: Sweep) -> dict[Any, Any]:
    name = figure["figure"]
    ours, interval = setup[name], setup.get(f"{name}_interval", float("nan"))
    near = abs(ours - figure["published"]) <= max(figure["margin"], 0 if pd.isna(interval) else interval)
    told = ", ".join(f"{option}={setup[option]}" for option in sweep.varying if not pd.isna(setup[option]))
    return figure | {
        "defense": setup["defense"],
        "setup": told,
        "seeds": setup["seeds"],
        "ours": ours,
        "interval": interval,
        "verdict": "agrees" if near else "differs",
    }


def write_comparison(comparison: pd.DataFrame, out: Path) -> str:
    """Write `reproduction.csv` and `reproduction.md` to a folder; returns the text of the second."""
    text = as_markdown(comparison)
    write_atomically(out / "reproduction.csv", lambda path: comparison.to_csv(path, index=False))
    write_atomically(out / "reproduction.md", partial(write_text, text=text))
    return text


def as_markdown(comparison: pd.DataFrame) -> str:
    """The comparison as a table in Markdown, and how many figures agree, differ and are missing."""
    headings = ["data set", "attack", "defense", "queries", "figure", "published", "ours", "verdict"]
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for row in comparison.to_dict("records"):
        ours = "" if pd.isna(row["ours"]) else f"{row['ours']:.4g}"
        if ours and not pd.isna(row["interval"]):
            ours += f" ± {row['interval']:.2g}"
        cells = [row["dataset"], row["attack"], " ".join(filter(None, (row["defense"], row["setup"])))]
        cells += [f"{row['queries']:,}", row["figure"], f"{row['published']:.4g}", ours, row["verdict"]]
        lines.append("| " + " | ".join(cells) + " |")
    counts = comparison["verdict"].value_counts()
    told = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in ("agrees", "differs", "missing"))
    return "\n".join(lines) + f"\n\n{told}\n"
