"""How the cells of a sweep stand: done, running, failed (with the last line of the error), pending.

    python -m sweeps.status DIR [--wait] [--all]

With --wait it returns when nothing is under way any more, and takes over from a head that was killed. It
exits with 1 if cells failed or, with --wait, if any has no result.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sweeps.launch.folder import SweepFolder
from sweeps.launch.head import wait_for
from sweeps.launch.states import UNDER_WAY, CellState, cell_states, job_states, sentence
from sweeps.launch.types import ClusterSilent

STYLES = {"done": "green", "running": "cyan", "pending": "dim"}


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


def main() -> None:
    """Print the states, and wait if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="the sweep's folder")
    parser.add_argument("--wait", action="store_true", help="until nothing is under way")
    parser.add_argument("--all", action="store_true", help="list the done and the pending too")
    options = parser.parse_args()
    folder = SweepFolder(options.directory)
    if not folder.exists:
        parser.error(
            f"{options.directory} is not the folder of a sweep that was started with hydra/launcher=slurm, "
            "local or debug"
        )
    try:
        if options.wait:
            wait_for(folder, poll_seconds=5.0)
        states = cell_states(folder, job_states(folder))
    except ClusterSilent as error:
        raise SystemExit(f"error: {error}") from None
    console = Console(width=None if sys.stdout.isatty() else 200)
    quiet = ("done", "pending")
    shown = [state for state in states if options.all or state.word not in quiet]
    if shown:
        console.print(table(shown))
    console.print(sentence(states))
    missing = {state.word for state in states} - {"done"}
    if missing - set(UNDER_WAY) or (options.wait and missing):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
