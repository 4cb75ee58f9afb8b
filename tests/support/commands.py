"""Running the project's commands as a user does."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def inherited() -> dict[str, str]:
    """The environment of this process, without the W&B service that it may have: that one ends with it."""
    return {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}


def run_python(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python with the arguments, in `folder`, with all that it printed; it may fail."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=inherited() | environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def run_program(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same of a script or a module (`-m`), in a process that need not import the libraries first."""
    return forked(arguments, folder, inherited() | environment)


def forked(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """A fork of the zygote as `python ARGUMENTS`, with all that it printed."""
    with Program(arguments, folder, environment) as program:
        code = program.wait()
        return subprocess.CompletedProcess(arguments, code, program.stdout, program.stderr)


class Program:
    """`python ARGUMENTS` as a fork of the zygote that goes on beside the test, and is killed on leaving."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._printed = tempfile.TemporaryDirectory()
        self._files = [Path(self._printed.name) / name for name in ("stdout", "stderr")]
        for path in self._files:
            path.touch()
        self.code: int | None = None
        self.pid = _asked(
            {
                "arguments": list(arguments),
                "folder": str(folder),
                "environment": dict(environment),
                "streams": [os.devnull, *map(str, self._files)],
            }
        )

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._files[0].read_text()

    @property
    def stderr(self) -> str:
        """Likewise."""
        return self._files[1].read_text()

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        if self.code is None:
            self.code = _asked({"ended": self.pid})
        return self.code

    def wait(self, seconds: float = 400) -> int:
        """Its exit code when it has ended; TimeoutError if it has not within that time."""
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"it ran longer than {seconds} s: {self.stderr}")
            time.sleep(0.02)
        return code

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        self.wait()
        self._printed.cleanup()


def _asked(request: Mapping[str, Any]) -> Any:
    """The zygote's answer."""
    process = zygote()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


@cache
def zygote() -> subprocess.Popen[str]:
    """This process' own, which ends with it."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "support" / "zygote.py"), str(ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.kill)
    return process
