"""A process that has imported all that jobs import, and forks for each of them.

The imports take ten seconds of a core, which each job of a process of its own would spend again.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import psutil

POLL_SECONDS = 0.1


class ForkServer:
    """The server's owner; the server ends with it, the jobs that it has forked do not.

    `ended` maps the ids of processes to their exit codes, as subprocess has them.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.connection, theirs = Pipe()
        number = theirs.fileno()
        command = [sys.executable, "-m", "sweeps.launch.fork_server", str(number)]
        self.process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            pass_fds=[number],
            start_new_session=True,  # Ctrl-C is the owner's, which ends the jobs itself
        )
        theirs.close()
        self.ended: dict[int, int] = {}

    def fork(self, job: Path, log: Path) -> tuple[int, float]:
        """Begin the job of that file, its output appended to `log`: its process' id, and when it was born."""
        with _needed():
            self.connection.send((str(job), str(log)))
        while True:
            pid, born, code = self._receive()
            if code is None:
                return pid, born
            self.ended[pid] = code

    def poll(self, seconds: float = 0) -> None:
        """Learn which jobs have ended; waits that long for the first."""
        while self.connection.poll(seconds):
            pid, _, code = self._receive()
            self.ended[pid] = code
            seconds = 0

    def _receive(self) -> Any:
        with _needed():
            return self.connection.recv()

    def close(self) -> None:
        """End the server."""
        self.connection.close()
        self.process.wait()


@contextlib.contextmanager
def _needed() -> Iterator[None]:
    """Word what it means that there is no server any more."""
    try:
        yield
    except (EOFError, ConnectionError):
        raise RuntimeError(
            "the process that forks jobs is gone; its error, if it had one, stands above. Jobs that run "
            "go on, and so does the sweep with the same command"
        ) from None


def serve(connection: Connection) -> tuple[str, str]:
    """Fork for each request until the owner is gone; returns the request in the child."""
    try:
        return _served(connection)
    except (EOFError, ConnectionError):  # it may leave without having read which jobs have ended
        os._exit(0)


def _served(connection: Connection) -> tuple[str, str]:
    running = 0
    while True:
        if connection.poll(POLL_SECONDS):
            job, log = connection.recv()
            _import_what_trains(Path(job))
            pid = os.fork()
            if pid == 0:
                connection.close()
                return job, log
            running += 1
            connection.send((pid, psutil.Process(pid).create_time(), None))
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            running -= 1
            connection.send((pid, None, os.waitstatus_to_exitcode(status)))


def _import_what_trains(job: Path) -> None:
    """Import Lightning for a job that may train, and so for all later ones; what only prices needs none."""
    if not job.is_file():  # nor must the server wait for what comes through a pipe
        return
    try:
        only_prices = json.loads(job.read_text())["stage"] == "price"
    except (OSError, ValueError, KeyError):  # which the job itself will say
        return
    if not only_prices and "training.classifier" not in sys.modules:
        for name in ("training.classifier", "training.trainer"):
            importlib.import_module(name)
        gc.freeze()


def become(log: str) -> None:
    """Leave the server's session, so that Ctrl-C is not this process', and write to the log."""
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)


def run_and_exit(program: Callable[[], object]) -> NoReturn:
    """Run what a fork is there for, and exit as Python does after a main program.

    Only the memory is not cleared: that would copy every page that the fork shares with its server, which
    takes two seconds.
    """
    code = 0
    try:
        program()
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads, and has no public name
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code(error: SystemExit) -> int:
    """The exit code that it asks for; anything but a number is printed, and is 1."""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def main() -> None:
    """Serve the owner at the other end of a connection, whose number is given."""
    from sweeps.launch import job

    gc.freeze()  # collections in forks would copy what they share
    path, log = serve(Connection(int(sys.argv[1])))
    become(log)
    run_and_exit(lambda: job.run(Path(path)))


if __name__ == "__main__":
    main()
