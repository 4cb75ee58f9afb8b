"""`serve.py` while a test asks it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.commands import ROOT, Program, inherited


@dataclass(frozen=True)
class Served:
    """Where `serve.py` serves, and the key of its first account."""

    url: str
    key: str


@contextmanager
def served(*arguments: str, folder: Path = ROOT) -> Iterator[Served]:
    """`serve.py` as a process, which must end well when it is told to."""
    with Program(arguments, folder, inherited()) as program:
        while "serves on" not in program.stdout:
            assert program.poll() is None, f"the server ended: {program.stdout}{program.stderr}"
            time.sleep(0.02)
        (url,) = re.findall(r"serves on (\S+)", program.stdout)
        (key,) = re.findall(r"shown this once\): (\S+)", program.stdout)
        try:
            yield Served(url, key)
        finally:
            program.signal(signal.SIGTERM)
            ended = program.wait(30)
    assert ended in (0, -15)
