"""How time, memory and bytes grow with cells that are planned or reported, and with queries.

    python -m benchmarks.growth [--planned 500 2000 8000] [--reported 200 1000 4000]
                                [--queries 1000 10000 100000]

Each size has a process of its own: CPU seconds (user and system) and peak memory are those of the process.
Planning is that of benchmarks.planning with its images decoded, reporting that of benchmarks.report. Queries
are those of a data-free extraction on digits (`dfme`, a victim of one epoch), with every measure, and a tenth
of them a round. The bytes of the store are those of the extraction, without the victim and its teachers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]

PLANNING = """
import sys
from pathlib import Path
from benchmarks.planning import grid, planned
folder, cells = Path(sys.argv[1]), int(sys.argv[2])
jobs = [job for seed in range(100) for job in grid(1, [f"paths.store={folder}/store", f"victim.seed={seed}"])]
planned(jobs[:cells], folder / "sweep")
"""

REPORTING = """
import sys
from pathlib import Path
from benchmarks.report import measured
for _ in measured(Path(sys.argv[1]) / "sweep", Path(sys.argv[1])):
    pass
"""

WRITING = """
import sys
from pathlib import Path
from benchmarks.report import write_sweep
write_sweep(Path(sys.argv[1]) / "sweep", int(sys.argv[2]))
"""

EXTRACTING = (
    *("dataset=digits", "attack=dfme", "defense=pow", "logger=none", "victim.recipe.epochs=1"),
    *(
        "privacy.measures.pate.teachers=2",
        "privacy.measures.pate.recipe.epochs=1",
        "dataset.transfer.images=10",
    ),
)


def used(command: Sequence[str]) -> tuple[float, float]:
    """Run a command; return its CPU seconds and its peak memory in MiB. Raises CalledProcessError."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def planning(cells: int, folder: Path) -> tuple[float, float, None]:
    """Plan so many cells."""
    return *used([sys.executable, "-c", PLANNING, str(folder), str(cells)]), None


def reporting(cells: int, folder: Path) -> tuple[float, float, None]:
    """Report so many cells, written before."""
    used([sys.executable, "-c", WRITING, str(folder), str(cells)])
    return *used([sys.executable, "-c", REPORTING, str(folder)]), None


def extracting(queries: int, folder: Path) -> tuple[float, float, int]:
    """Ask so many queries, once the victim is trained; return the bytes of the extraction too."""
    own = [*EXTRACTING, f"paths.store={folder}/store", f"paths.output={folder}/outputs"]

    def run(budget: int) -> tuple[float, float]:
        size = [f"attack.budget={budget}", f"attack.round_size={budget // 10}"]
        return used([sys.executable, "run.py", *own, *size])

    run(100)
    before = _bytes(folder / "store" / "extractions")
    seconds, mebibytes = run(queries)
    return seconds, mebibytes, _bytes(folder / "store" / "extractions") - before


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rows(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Measure each size; yield a row of the table."""
    kinds = {
        "cells planned": (planning, options.planned),
        "cells reported": (reporting, options.reported),
        "queries": (extracting, options.queries),
    }
    for what, (measure, sizes) in kinds.items():
        for size in sizes:
            with tempfile.TemporaryDirectory() as name:
                seconds, mebibytes, stored = measure(size, Path(name))
            each = "" if stored is None else f"{stored / size:,.0f}"
            yield (
                *(f"{size:,} {what}", f"{seconds:,.1f}", f"{1000 * seconds / size:.2f}"),
                *(f"{mebibytes:,.0f}", each),
            )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--planned", type=int, nargs="*", default=[500, 2000, 8000])
    parser.add_argument("--reported", type=int, nargs="*", default=[200, 1000, 4000])
    parser.add_argument("--queries", type=int, nargs="*", default=[1000, 10_000, 100_000])
    table = Table(title="Growth")
    for column in ("what", "CPU s", "ms each", "peak, MiB", "stored bytes each"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows(parser.parse_args()):
        table.add_row(*row)
    Console(width=90).print(table)


if __name__ == "__main__":
    main()
