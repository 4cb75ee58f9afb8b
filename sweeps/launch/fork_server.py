"""A process that has imported all that jobs import, and forks for each of them.

The imports take ten seconds of a core, which each job of a process of its own would spend again.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

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
    running = 0
    while True:
        if connection.poll(POLL_SECONDS):
            try:
                job, log = connection.recv()
            except EOFError:
                os._exit(0)
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


def become(log: str) -> None:
    """Leave the server's session, so that Ctrl-C is not this process', and write to the log."""
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)


def main() -> None:
    """Serve the owner at the other end of a connection, whose number is given."""
    from sweeps.launch import job

    path, log = serve(Connection(int(sys.argv[1])))
    become(log)
    job.run(Path(path))


if __name__ == "__main__":
    main()
