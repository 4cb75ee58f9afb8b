"""Gates that run while a test asks them."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from commands import ROOT
from fastapi import FastAPI


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


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application in a thread; its address."""
    settings = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None)
    server, socket = uvicorn.Server(settings), settings.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
