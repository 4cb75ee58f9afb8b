"""How the cells of a sweep stand, as a table."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from sweeps.grid.listed import left_out_words
from sweeps.launch.folder import SweepFolder
from sweeps.launch.head import wait_for
from sweeps.launch.states import UNDER_WAY, CellState, cell_states, job_states, sentence

STYLES = {"done": "green", "running": "cyan", "pending": "dim", "not submitted": "dim"}


def table(states: list[CellState]) -> Table:
    """A row a cell."""
    rows = Table(box=None, pad_edge=False)
    for heading in ("state", "cell", "folder", ""):
        rows.add_column(heading, overflow="fold")
    for state in states:
        style = STYLES.get(state.word, "red")
        word = f"[{style}]{state.word}[/{style}]"
        rows.add_row(word, state.cell.label, state.cell.directory.name, state.detail)
    return rows


def show(folder: SweepFolder, wait: bool, everything: bool) -> bool:
    """Print how the cells stand; returns whether all is well.

    Args:
        folder: of the sweep.
        wait: return only once nothing is under way.
        everything: list the done and the pending cells too.

    Returns:
        Whether no cell failed and, with `wait`, each has its result.

    Raises:
        ClusterSilent: where the cluster does not answer.
    """
    if wait:
        wait_for(folder, poll_seconds=5.0)
    states = cell_states(folder, job_states(folder))
    console = Console(width=None if sys.stdout.isatty() else 200)
    quiet = ("done", "pending", "not submitted")
    shown = [state for state in states if everything or state.word not in quiet]
    if shown:
        console.print(table(shown))
    console.print(sentence(states))
    if said := left_out_words(folder.left_out()):
        console.print(said, soft_wrap=True)
    missing = {state.word for state in states} - {"done"}
    return not (missing if wait else missing - set(UNDER_WAY))
