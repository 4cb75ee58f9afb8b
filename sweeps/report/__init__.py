"""What finished cells say: tables, plots and a page, with means and intervals over seeds."""

from sweeps.report.frames import Sweep
from sweeps.report.means import points
from sweeps.report.pictures.looks import looks_of
from sweeps.report.results import load_cells
from sweeps.report.setups import finals, lines, strengths
from sweeps.report.terminal import print_table
from sweeps.report.write import load, table, write_report

__all__ = [
    "Sweep",
    "finals",
    "lines",
    "load",
    "load_cells",
    "looks_of",
    "points",
    "print_table",
    "strengths",
    "table",
    "write_report",
]
