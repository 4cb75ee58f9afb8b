"""What happens around Hydra's jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepSummary(Callback):
    """At the end of a multirun: the table in the terminal and one plot a data set in the sweep's folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Gather the finished cells of the sweep."""
        summarize(Path(config.hydra.sweep.dir))


def summarize(directory: Path) -> None:
    """Print the table of a sweep's finished cells, and draw its plots; nothing where there are none."""
    from rich.console import Console

    from sweeps.report.results import load_cells
    from sweeps.report.write import terminal_table, write_plots

    cells = load_cells([directory])
    if not cells:
        return
    console = Console(width=None if Console().is_terminal else 190)
    console.print(terminal_table(cells))
    for path in write_plots(cells, directory):
        console.print(f"plot: {path}", soft_wrap=True)
