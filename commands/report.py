"""What finished cells say: tables, pictures and a page, with means and 95 % intervals over seeds.

Writes table.csv, table.md and table.tex, plots as PNG and PDF, and report.html, which stands alone. With
--against also reproduction.csv and reproduction.md: published figures as agreeing, differing or missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from commands.parsing import packages_of, parser


def main(arguments: Sequence[str]) -> int:
    """Write the report and print the table."""
    parsing = parser("report", __doc__)
    parsing.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of cells or of sweeps")
    parsing.add_argument(
        "--at", type=int, nargs="+", default=[], help="numbers of queries in the tables (default: the last)"
    )
    parsing.add_argument("--out", type=Path, help="where the files go (default: the first folder)")
    parsing.add_argument(
        "--against", metavar="FILE", help="published figures to compare with: a CSV, or dziedzic2022"
    )
    options = parsing.parse_args(arguments)
    with packages_of("sweeps"):
        from rich.console import Console

        from storage.files import check_writable
        from sweeps.report.published.comparison import compared, read_published, write_comparison
        from sweeps.report.tables import markdown
        from sweeps.report.terminal import print_table
        from sweeps.report.write import load, write_report
    try:
        published = None if options.against is None else read_published(options.against)
        sweep = load(options.folders)
        out = options.out or options.folders[0]
        check_writable(out, "--out" if options.out else "FOLDER, where the files go without --out")
        means = write_report(sweep, out, options.at)
    except (OSError, ValueError) as error:
        parsing.error(str(error))
    if (console := Console()).is_terminal and not options.at:
        print_table(sweep, console)
    else:
        print(markdown(means, sweep), end="")
    if published is not None:
        print(f"\n{write_comparison(compared(sweep, published), out)}", end="")
    print(f"\n{out / 'report.html'}")
    return 0
