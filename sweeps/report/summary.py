"""What a sweep prints at its end."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from sweeps.report.results import load_cells
from sweeps.report.write import terminal_table, write_plots


def summarize(directory: Path) -> None:
    """Print the table of a sweep's finished cells, and draw its plots; nothing where there are none.

    Raises ValueError where nothing tells two cells of one seed apart.
    """
    cells = load_cells([directory])
    if not cells:
        return
    console = Console(width=None if Console().is_terminal else 190)
    console.print(terminal_table(cells))
    for path in write_plots(cells, directory):
        console.print(f"plot: {path}", soft_wrap=True)
