"""How fast this machine solves and checks each kind of puzzle; as a profile of one of its cores if asked for.

    python -m pow.hash_rate [--seconds 3] [--no-compiled]
    python -m pow.hash_rate --out conf/hardware/NAME.yaml --watts 4.5 --usd-per-hour 0.00074 [--name NAME]

Rates are of puzzles with standard options. A profile has the fastest solver's rate of one core for each kind,
with all cores busy if that is faster. PyTorch's kernel for sha256, with one thread and with all, takes a
minute each to compile when its cache is cold; --no-compiled leaves it out. Power and price of a core are not
measured, so a profile needs them named.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from pow.puzzles import KINDS, Puzzle, Sha256Puzzle, solve, verify
from pow.puzzles.base import HARDEST_PART
from pow.puzzles.solvers import Search, cores

CHECKS = "checks"
CHECKED_DIFFICULTY = 8.0
"""Of the puzzle whose solution is checked; a check takes as long at any."""


@dataclass(frozen=True)
class Rate:
    """What is done `a_second` for a kind of puzzle, by so many `cores`; None for a graphics card."""

    kind: str
    what: str
    a_second: float
    cores: int | None = 1

    @property
    def of_one_core(self) -> float | None:
        """The share of one core."""
        return None if self.cores is None else self.a_second / self.cores


def calls_a_second(call: Callable[[], int], seconds: float) -> float:
    """The sum of what calls return over the time they take: one to warm up, then for so many seconds."""
    call()
    done, began = 0, time.perf_counter()
    while True:
        done += call()
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return done / elapsed


def hash_rate(search: Search, chunk: int, seconds: float) -> float:
    """Hashes a second of a search that finds nothing."""
    starts = itertools.count(0, chunk)

    def call() -> int:
        search(0, next(starts), chunk)
        return chunk

    return calls_a_second(call, seconds)


def unsolvable(kind: str) -> Puzzle:
    """A puzzle of the kind that nobody solves in a few seconds."""
    return KINDS[kind](b"a challenge for measuring", HARDEST_PART)


def loop_rate(kind: str, seconds: float) -> float:
    """Hashes a second of the plain loop in this process."""
    puzzle = unsolvable(kind)
    return hash_rate(puzzle.search, puzzle.chunk, seconds)


def pool_rate(kind: str, seconds: float, workers: int) -> float:
    """Hashes a second of so many processes, started as the solver starts them, that loop at the same time."""
    context = multiprocessing.get_context("spawn")
    everyone = context.Barrier(workers)
    with ProcessPoolExecutor(workers, context, initializer=everyone.wait) as pool:
        return sum(pool.map(loop_rate, [kind] * workers, [seconds] * workers))


def check_rate(kind: str, seconds: float) -> float:
    """Solutions a second that are verified in this process, the puzzle made anew each time."""
    nonces = solve(KINDS[kind](b"checked", CHECKED_DIFFICULTY), workers=1).nonces

    def call() -> int:
        if not verify(KINDS[kind](b"checked", CHECKED_DIFFICULTY), nonces):
            raise AssertionError(f"a solved {kind} puzzle is refused")
        return 1

    return calls_a_second(call, seconds)


def compiled_rate(device: str, threads: int, seconds: float) -> Rate:
    """Hashes a second of PyTorch's compiled kernel; raises RuntimeError where it cannot compile."""
    import torch  # takes seconds

    from pow.puzzles.kernel import BatchSearch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        search = BatchSearch(Sha256Puzzle(b"a challenge for measuring", HARDEST_PART), device, True)
        rate = hash_rate(search, search.batch, seconds)
    finally:
        torch.set_num_threads(before)
    if device == "cuda":
        return Rate("sha256", f"kernel, {torch.cuda.get_device_name()}", rate, None)
    return Rate("sha256", f"kernel, {threads} thread{'s' * (threads > 1)}", rate, threads)


def kernels(compiled: bool) -> list[tuple[str, int]]:
    """Devices and numbers of threads with which PyTorch's kernel is measured."""
    if not compiled:
        return []
    from pow.puzzles.kernel import best_device

    on_cores = [("cpu", threads) for threads in sorted({1, cores()})]
    return [("cuda", 1), *on_cores] if best_device() == "cuda" else on_cores


def rates(seconds: float, compiled: Sequence[tuple[str, int]]) -> Iterator[Rate]:
    """Every measurement, as it is made; of the kernel with these devices and threads."""
    for device, threads in compiled:
        tqdm.write(f"compiling for {device}, threads {threads}: a minute when PyTorch's cache is cold")
        yield compiled_rate(device, threads, seconds)
    workers = cores()
    for kind in KINDS:
        yield Rate(kind, "loop", loop_rate(kind, seconds))
        yield Rate(kind, f"loop, {workers} processes", pool_rate(kind, seconds, workers), workers)
        yield Rate(kind, CHECKS, check_rate(kind, seconds))


def shown(number: float) -> str:
    """Whole numbers where they are large."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def table(measured: Sequence[Rate]) -> Table:
    """A line a measurement."""
    lines = Table(title="Hashes and checks a second")
    for name in ("puzzle", "what", "a second", "of one core"):
        lines.add_column(name, justify="left" if name in ("puzzle", "what") else "right")
    for rate in sorted(measured, key=lambda rate: list(KINDS).index(rate.kind)):
        of_one = "" if rate.of_one_core is None else shown(rate.of_one_core)
        lines.add_row(rate.kind, rate.what, shown(rate.a_second), of_one)
    return lines


def profile(measured: Sequence[Rate], name: str, watts: float, usd_per_hour: float) -> dict[str, Any]:
    """A core of this machine as a node of conf/hardware."""
    fastest: dict[str, float] = {}
    for rate in measured:
        if rate.what != CHECKS and rate.of_one_core is not None:
            fastest[rate.kind] = max(fastest.get(rate.kind, 0.0), rate.of_one_core)
    solvers = "PyTorch's kernel or hashlib" if any("kernel" in rate.what for rate in measured) else "hashlib"
    return {
        "_target_": "pow.hardware.Hardware",
        "name": name,
        "hashes_per_second": {kind: float(f"{fastest[kind]:.4g}") for kind in KINDS},
        "watts": watts,
        "usd_per_hour": usd_per_hour,
        "measured": True,
        "source": (
            f"Rates of python -m pow.hash_rate with {solvers} on one core of {processor()}, "
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, torch {version('torch')}, "
            f"argon2-cffi {version('argon2-cffi')}. Power and price as given on the command line."
        ),
    }


def processor() -> str:
    """The processor's model, with the number of cores that are used."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.M)
    model = named[1].strip() if named else platform.processor() or platform.machine()
    return f"{model} ({cores()} cores)"


def write_profile(path: Path, node: Mapping[str, Any]) -> None:
    """As a file of conf/hardware, written under another name and renamed."""
    from omegaconf import OmegaConf

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(
            "# One core of a machine on which python -m pow.hash_rate was run.\n"
            + OmegaConf.to_yaml(OmegaConf.create(dict(node)))
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _finite(text: str, valid: Callable[[float], bool], rule: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and valid(number)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {rule}")
    return number


def _seconds(text: str) -> float:
    return _finite(text, lambda number: number > 0, "above 0")


def _figure(text: str) -> float:
    return _finite(text, lambda number: number >= 0, "of at least 0")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command's options; ends the program with a line that names the option for what makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m pow.hash_rate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="of each measurement")
    parser.add_argument("--out", type=Path, help="write a profile of one core to this YAML file")
    parser.add_argument("--name", help="the profile's name; the file's, without .yaml, unless given")
    parser.add_argument("--watts", type=_figure, help="a core's power while it hashes")
    parser.add_argument("--usd-per-hour", type=_figure, help="a core's rent, or its electricity")
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(arguments)
    if options.out is not None:
        _check_profile(parser, options)
    return options


def _check_profile(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Before anything is measured, and the name if none was given."""
    options.name = options.out.stem if options.name is None else options.name
    if options.out.suffix != ".yaml" or not options.out.absolute().parent.is_dir() or options.out.is_dir():
        parser.error(f"argument --out: {options.out} is not a .yaml file in a folder that exists")
    if not re.fullmatch(r"[A-Za-z0-9_]+", options.name):
        parser.error(f"argument --name: {options.name!r} is not made of letters, digits and underscores")
    for option in ("watts", "usd_per_hour"):
        if getattr(options, option) is None:
            dashed = option.replace("_", "-")
            parser.error(f"argument --{dashed}: a profile needs it; 0 leaves it out of the bill")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rates and write the profile; 1 with one clear sentence where that fails."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    measured = []
    try:
        compiled = kernels(options.compiled)
        steps = 3 * len(KINDS) + len(compiled)
        with tqdm(total=steps, desc="measuring", leave=False, disable=not sys.stderr.isatty()) as bar:
            for rate in rates(options.seconds, compiled):
                measured.append(rate)
                bar.update()
        Console(width=100).print(table(measured))
        if options.out is not None:
            node = profile(measured, options.name, options.watts, options.usd_per_hour)
            write_profile(options.out, node)
    except (OSError, RuntimeError) as error:
        print("error: " + str(error).partition("\n")[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
