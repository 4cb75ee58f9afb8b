"""Hashes a second of each way to solve a puzzle, and checks a second.

    python -m benchmarks.puzzles [--seconds 3] [--no-compiled]

All sha256 rates are also given as ratios to the loop that one would write first. PyTorch's kernel is compiled
in processes of its own, for one thread and for all; that takes some minutes. Another process measures the
compilation when PyTorch's cache is warm.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from pow.hash_rate import check_rate, hash_rate, own_search, plain_loop, pool_rate, search_rate, shown
from pow.puzzles import KINDS, Sha256Puzzle
from pow.puzzles.base import HARDEST_PART
from pow.puzzles.solvers import Search, cores

UNSOLVABLE = Sha256Puzzle(b"a challenge for measuring", HARDEST_PART)


class Kernel(NamedTuple):
    """Seconds of compiling the kernel, and its hashes a second."""

    compilation: float
    rate: float


def naive_search(puzzle: Sha256Puzzle) -> Search:
    """Return a search like `Puzzle.search` that hashes seed and nonce anew for each nonce."""

    def search(part: int, start: int, count: int) -> int | None:
        seed, largest = puzzle.seed(part), puzzle.largest
        for nonce in range(start, start + count):
            if hashlib.sha256(seed + nonce.to_bytes(8, "big")).digest() <= largest:
                return nonce
        return None

    return search


def plain_c(part: int, start: int, count: int) -> int | None:
    """Search in C as a processor without SHA instructions does."""
    from pow.puzzles import native

    return native.search(UNSOLVABLE.seed(part), UNSOLVABLE.largest, start, count, True)


def kernel_rate(threads: int, device: str, seconds: float, cache: str) -> Kernel:
    """Measure PyTorch's kernel with its cache in the folder `cache`; a process can do so once."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.environ["TRITON_CACHE_DIR"] = cache
    import torch

    from pow.puzzles.kernel import BatchSearch

    torch.set_num_threads(threads)
    began = time.perf_counter()
    search = BatchSearch(UNSOLVABLE, device, compile_kernel=True)
    compilation = time.perf_counter() - began
    return Kernel(compilation, hash_rate(search, search.batch, seconds))


def in_new_process(threads: int, device: str, seconds: float, cache: str) -> Kernel:
    """Measure PyTorch's kernel in a new process, where nothing is compiled yet."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(kernel_rate, threads, device, seconds, cache).result()


def sha256_rates(seconds: float) -> Iterator[tuple[str, float]]:
    """Yield the rate of every way to solve sha256 without PyTorch."""
    yield "sha256, naive loop", hash_rate(naive_search(UNSOLVABLE), UNSOLVABLE.chunk, seconds)
    yield "sha256, our loop", plain_loop(seconds).a_second
    own = own_search("sha256")
    if Sha256Puzzle.in_threads:
        yield f"sha256, {own}", search_rate("sha256", seconds)
        yield "sha256, C without SHA instructions", hash_rate(plain_c, 1 << 16, seconds)
    yield f"sha256, {own}, {cores()} processes", pool_rate("sha256", seconds, cores())


def kernel_rates(seconds: float) -> Iterator[tuple[str, Kernel]]:
    """Yield every way to solve sha256 in PyTorch; compilations are cold unless they are called warm."""
    from pow.puzzles.kernel import best_device

    with tempfile.TemporaryDirectory() as cache:
        yield "1 thread", in_new_process(1, "cpu", seconds, cache)
        yield "1 thread, warm", in_new_process(1, "cpu", seconds, cache)
        if cores() > 1:
            yield f"{cores()} threads", in_new_process(cores(), "cpu", seconds, cache)
        if best_device() == "cuda":
            yield "cuda", in_new_process(cores(), "cuda", seconds, cache)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--compiled", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    kernels = dict(kernel_rates(options.seconds) if options.compiled else ())
    rates = dict(sha256_rates(options.seconds))
    naive = next(iter(rates.values()))
    rates |= {f"sha256, kernel, {name}": kernel.rate for name, kernel in kernels.items()}
    table = Table(title=f"Hashes and checks a second, {options.seconds:g} s each")
    for column in ("what", "a second", "to the naive loop", "compiled in s"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, rate in rates.items():
        kernel = kernels.get(name.removeprefix("sha256, kernel, "))
        table.add_row(name, shown(rate), f"{rate / naive:.2f}", f"{kernel.compilation:.1f}" if kernel else "")
    for kind in ("hashcash", "argon2id"):
        table.add_row(f"{kind} loop", shown(search_rate(kind, options.seconds)), "", "")
    for kind in KINDS:
        table.add_row(f"{kind} check", shown(check_rate(kind, options.seconds)), "", "")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
