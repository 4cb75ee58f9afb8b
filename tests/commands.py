"""Running the project's commands as a user does."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_python(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python with the arguments, in `folder`, with all that it printed; it may fail."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def run_program(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same of a script or a module (`-m`), in a process that need not import the libraries first."""
    return forked(arguments, folder, os.environ | environment)


def forked(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """A fork of the zygote as `python ARGUMENTS`, with all that it printed."""
    with tempfile.TemporaryDirectory() as name:
        printed = [Path(name) / "stdout", Path(name) / "stderr"]
        for path in printed:
            path.touch()
        request = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
            "streams": [os.devnull, *map(str, printed)],
        }
        process = zygote()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, *(path.read_text() for path in printed))


@cache
def zygote() -> subprocess.Popen[str]:
    """This process' own, which ends with it."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "zygote.py"), str(ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.kill)
    return process
