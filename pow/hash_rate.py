"""How fast this machine solves and checks each kind of puzzle; as a profile of one of its cores if asked for.

Rates are of puzzles with standard options. A profile has the fastest solver's rate of one core for each kind,
with all cores busy if that is faster.
"""

from __future__ import annotations

import itertools
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

from rich.table import Table
from tqdm import tqdm

from pow.puzzles import KINDS, Puzzle, Sha256Puzzle, solve, verify
from pow.puzzles.base import HARDEST_PART
from pow.puzzles.solvers import Search, cores

CHECKS, LOOP = "checks", "loop"
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


def search_rate(kind: str, seconds: float) -> float:
    """Hashes a second of the kind's own search in this process."""
    puzzle = unsolvable(kind)
    return hash_rate(puzzle.search, puzzle.chunk, seconds)


def plain_loop(seconds: float) -> Rate:
    """Hashes a second of hashlib's loop for sha256, which the module in C spares."""
    puzzle = Sha256Puzzle(b"a challenge for measuring", HARDEST_PART)
    return Rate("sha256", LOOP, hash_rate(puzzle.search_in_a_loop, 1 << 16, seconds))


def own_search(kind: str) -> str:
    """What the kind's own search is called: a loop, or the instructions that the module in C uses."""
    if not KINDS[kind].in_threads:
        return LOOP
    from pow.puzzles import native

    return f"C with {native.instructions()}" if native.instructions() != "C" else "C"


def pool_rate(kind: str, seconds: float, workers: int) -> float:
    """Hashes a second of so many processes, started as the solver starts them, that loop at the same time."""
    context = multiprocessing.get_context("spawn")
    everyone = context.Barrier(workers)
    with ProcessPoolExecutor(workers, context, initializer=everyone.wait) as pool:
        return sum(pool.map(search_rate, [kind] * workers, [seconds] * workers))


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
    if Sha256Puzzle.in_threads:
        yield plain_loop(seconds)
    for kind in KINDS:
        name = own_search(kind)
        yield Rate(kind, name, search_rate(kind, seconds))
        yield Rate(kind, f"{name}, {workers} processes", pool_rate(kind, seconds, workers), workers)
        yield Rate(kind, CHECKS, check_rate(kind, seconds))


def measure(seconds: float, compiled: bool) -> list[Rate]:
    """Every measurement of so many seconds each, with a bar on a terminal; of PyTorch's kernel if asked for.

    Raises RuntimeError where the kernel cannot be compiled.
    """
    asked = kernels(compiled)
    steps = 3 * len(KINDS) + Sha256Puzzle.in_threads + len(asked)
    measured = []
    with tqdm(total=steps, desc="measuring", leave=False, disable=not sys.stderr.isatty()) as bar:
        for rate in rates(seconds, asked):
            measured.append(rate)
            bar.update()
    return measured


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
    used = {"PyTorch's kernel": "kernel", "C": "C", "hashlib": LOOP}
    solvers = " or ".join(name for name, word in used.items() if any(word in rate.what for rate in measured))
    return {
        "_target_": "pow.hardware.Hardware",
        "name": name,
        "hashes_per_second": {kind: float(f"{fastest[kind]:.4g}") for kind in KINDS},
        "watts": watts,
        "usd_per_hour": usd_per_hour,
        "measured": True,
        "source": (
            f"Rates of tollgate hash-rate with {solvers} on one core of {processor()}, "
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
            "# One core of a machine on which tollgate hash-rate was run.\n"
            + OmegaConf.to_yaml(OmegaConf.create(dict(node)))
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
