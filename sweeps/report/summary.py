"""What a sweep prints at its end."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from rich.console import Console

from storage.files import write_atomically
from sweeps.report.frames import tidy
from sweeps.report.pictures.plots import draw
from sweeps.report.results import load_cells
from sweeps.report.terminal import print_table
from sweeps.report.write import table
from sweeps.tracking.summary import sum_up

WITHOUT_A_TERMINAL = 190
"""Characters of a line where it goes to a file."""


def summarize(directory: Path) -> None:
    """Print the table of a sweep's finished cells, write all figures, draw its plots, and sum up for W&B.

    Raises ValueError where nothing tells two cells of one seed apart.
    """
    cells = load_cells([directory])
    if not cells:
        return
    sweep = tidy(cells)
    console = Console(width=None if Console().is_terminal else WITHOUT_A_TERMINAL)
    print_table(sweep, console)
    all_figures = directory / "table.csv"
    write_atomically(all_figures, lambda path: table(sweep).to_csv(path, index=False))
    plots = draw(sweep, directory)
    for path in (all_figures, *plots):
        _say(console, f"{'all figures' if path == all_figures else 'plot'}: {path}")
    _say(console, f"tollgate report {quote(str(directory))} writes tables for papers and a page")
    sum_up(directory, cells, sweep, plots)


def _say(console: Console, line: str) -> None:
    """Print a line as it is, to be copied: in one piece, whatever brackets a folder's name has."""
    console.print(line, soft_wrap=True, markup=False)
