"""What finished cells say: tables, pictures and a page, with means and 95 % intervals over seeds."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pandas as pd

from storage.files import write_atomically, write_text
from sweeps.grid.listed import left_out_below, left_out_words
from sweeps.report.frames import Sweep, tidy
from sweeps.report.means import over_seeds, points
from sweeps.report.page import page
from sweeps.report.pictures.plots import draw
from sweeps.report.results import load_cells
from sweeps.report.setups import finals, lines, strengths
from sweeps.report.tables import latex, markdown

log = logging.getLogger(__name__)

__all__ = [
    "Sweep",
    "finals",
    "lines",
    "load",
    "load_cells",
    "points",
    "strengths",
    "table",
]


def load(folders: Iterable[str | Path]) -> Sweep:
    """The finished cells below the folders as tidy frames; what notebooks read sweeps through.

    Raises FileNotFoundError where there are none, ValueError where nothing tells two cells of one seed apart.
    """
    paths = [Path(folder) for folder in folders]
    cells = load_cells(paths)
    if said := left_out_words(left_out_below(paths)):
        log.warning(said)
    if not cells:
        raise FileNotFoundError(
            f"no finished cell (a folder with result.json) is below {', '.join(map(str, paths))}"
        )
    return tidy(cells)


def table(sweep: Sweep, at: Iterable[int] = ()) -> pd.DataFrame:
    """Means over seeds with their intervals, after so many queries or at the end: see `over_seeds`."""
    return over_seeds(points(sweep, at), [*sweep.names, "at"]).drop(columns="at", errors="ignore")


def write_report(sweep: Sweep, out: Path, at: Iterable[int] = ()) -> pd.DataFrame:
    """Write all files of a report to the folder `out`; returns the table.

    Raises ValueError, before anything is written, for numbers of queries that no curve reaches.
    """
    at = tuple(at)
    _check_reached(sweep, at)
    out.mkdir(parents=True, exist_ok=True)
    means = table(sweep, at)
    write_atomically(out / "table.csv", lambda path: means.to_csv(path, index=False))
    for name, text in (
        ("table.md", markdown(means, sweep)),
        ("table.tex", latex(means, sweep)),
        ("report.html", page(sweep)),
    ):
        write_atomically(out / name, partial(write_text, text=text))
    draw(sweep, out)
    return means


def _check_reached(sweep: Sweep, at: Iterable[int]) -> None:
    """Raise ValueError for a number of queries at which no curve has a point."""
    first, most = int(sweep.curves["queries"].min()), int(sweep.curves["queries"].max())
    beyond = [str(number) for number in at if not first <= number <= most]
    if beyond:
        raise ValueError(
            f"--at must be between {first} and {most}, the queries of these cells, not {', '.join(beyond)}"
        )
