"""A process that has imported the libraries, and forks for each program that it is told to run.

Importing torch and Lightning takes ten seconds of a core, more than most programs of the tests take for all
else. A line of JSON on standard input says what to run, and is answered with the fork's number; or it asks
how a fork has ended, and is answered with its exit code, or null while it runs.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

PRELOADED = ("experiment.cell", "hydra", "uvicorn", "gate.app")
FILES = {0: os.O_RDONLY, 1: os.O_WRONLY, 2: os.O_WRONLY}


def serve() -> dict[str, Any]:
    """Fork for each program; returns what it is in the child."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        if "ended" in request:
            ended, status = os.waitpid(request["ended"], os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), flush=True)
            continue
        child = os.fork()
        if child == 0:
            return request
        print(child, flush=True)
    os._exit(0)


def become(request: dict[str, Any]) -> None:
    """Be `python ARGUMENTS` in a folder and an environment, with standard streams that are files."""
    for number, path in enumerate(request["streams"]):
        file = os.open(path, FILES[number])
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0)  # what the requests came by must not be read on
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background is deaf to it
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # what TMPDIR says is read anew
    os.chdir(request["folder"])
    arguments = request["arguments"]
    is_module = arguments[0] == "-m"
    program, sys.argv = arguments[1] if is_module else arguments[0], arguments[is_module:]
    sys.path[0] = request["folder"] if is_module else str(Path(program).resolve().parent)
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if is_module:
        sys.modules.pop(program, None)
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    for name in PRELOADED:
        importlib.import_module(name)
    from sweeps.launch.fork_server import run_and_exit

    sys.path.pop()
    gc.freeze()  # what all share is not looked through again and again, nor copied by that
    request = serve()
    run_and_exit(lambda: become(request))
