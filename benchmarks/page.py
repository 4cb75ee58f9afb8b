"""Hashes a second of the gate's page in Chromium, beside hashlib's loop and the Python client's search.

    python -m benchmarks.page [--seconds 2]

One thread each, one after another, median of five rounds in turn. Needs Chromium and the `dev` packages.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from statistics import median

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

from gate.http.pages import PAGE
from pow.hash_rate import hash_rate, search_rate, shown
from pow.puzzles import Sha256Puzzle
from pow.puzzles.base import HARDEST_PART

LOOP = "hashlib's loop"
ROUNDS = 5
UNSOLVABLE = Sha256Puzzle(b"a challenge for measuring", HARDEST_PART)
MEASURE = """
async ([seconds, lacking]) => {
    if (lacking) WebAssembly.Module = undefined;
    const { search } = await import("/search.js");
    const block = new Int32Array(16), largest = new Uint32Array(8), begun = performance.now();
    let tried = 0;
    for (; performance.now() - begun < 1000 * seconds; tried += 65536) search(block, largest, tried, 65536);
    return tried / (performance.now() - begun) * 1000;
}
"""


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served_page() -> Iterator[str]:
    """Serve the page's files; give their address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(PAGE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/icon.svg"
        server.shutdown()


@contextmanager
def browser_pages(program: str) -> Iterator[Callable[[], Page]]:
    """Give what opens a new page of the served files in the browser `program`."""
    with served_page() as url, sync_playwright() as playwright:
        options = ["--no-sandbox", "--no-proxy-server"]
        browser = playwright.chromium.launch(executable_path=program, args=options)

        def opened() -> Page:
            page = browser.new_page()
            page.goto(url)
            return page

        yield opened
        browser.close()


def rates(program: str, seconds: float) -> dict[str, float]:
    """Return the median hashes a second of each way to search."""

    def in_page(lacking: bool) -> float:
        with opened() as page:
            return float(page.evaluate(MEASURE, [seconds, lacking]))

    with browser_pages(program) as opened:
        ways: dict[str, Callable[[], float]] = {
            LOOP: lambda: hash_rate(UNSOLVABLE.search_in_a_loop, 1 << 16, seconds),
            "Python client": lambda: search_rate("sha256", seconds),
            "page, WebAssembly": lambda: in_page(lacking=False),
            "page, loop": lambda: in_page(lacking=True),
        }
        rounds = [{name: rate() for name, rate in ways.items()} for _ in range(ROUNDS)]
    return {name: median(measured[name] for measured in rounds) for name in ways}


def main(arguments: list[str] | None = None) -> None:
    """Print the rates, and their ratios to hashlib's loop."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    seconds = parser.parse_args(arguments).seconds
    program = shutil.which("chromium")
    if program is None:
        sys.exit("chromium is not installed")
    measured = rates(program, seconds)
    table = Table("one thread", "hashes/s", f"of {LOOP}")
    for name, rate in measured.items():
        table.add_row(name, shown(rate), f"{rate / measured[LOOP]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
