"""`serve.py` while a test asks it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from commands import ROOT


@dataclass(frozen=True)
class Served:
    """Where `serve.py` serves, and the key of its first account."""

    url: str
    key: str


@contextmanager
def served(*arguments: str, folder: Path = ROOT) -> Iterator[Served]:
    """`serve.py` as a process, which must end well when it is told to."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        said = ""
        assert process.stdout is not None
        while "serves on" not in said:
            line = process.stdout.readline()
            assert line, f"the server ended: {said}"
            said += line
        (url,) = re.findall(r"serves on (\S+)", said)
        (key,) = re.findall(r"shown this once\): (\S+)", said)
        yield Served(url, key)
    finally:
        process.terminate()
        ended = process.wait(30)
    assert ended in (0, -15)
