"""A lock with an owner and a heartbeat, for jobs on one machine or on a shared file system.

The lock is a file made with O_EXCL. Its owner touches it every few seconds. A lock that was not touched for
`stale_after` seconds belonged to a job that was killed, and is taken over; at once, if that job ran on this
machine. Ages are measured by the file system's own clock, since machines disagree about the time. What the
lock guards is published by a rename, so two owners at once would cost time, but damage nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

log = logging.getLogger(__name__)


class HeartbeatLock:
    """A context manager that holds the lock file at `path` while its block runs.

    Args:
        path: The lock file; its folder exists.
        heartbeat: Seconds between two touches by the owner.
        stale_after: Seconds without a touch after which a lock is taken over.
        poll: Seconds between two attempts of a waiter.
        say: Told once, with the owner, that a waiter waits; null: a line in the log.
    """

    def __init__(
        self,
        path: Path,
        *,
        heartbeat: float = 5.0,
        stale_after: float = 20.0,
        poll: float = 0.5,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self.heartbeat = heartbeat
        self.stale_after = stale_after
        self.poll = poll
        self.say = say or self._log_waiting
        self.token = uuid.uuid4().hex
        self._released = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> HeartbeatLock:
        announced = False
        while not self._try_acquire():
            held = self._read()
            if _is_gone(held) or self._is_stale():
                self._remove_stale(held)
                continue
            if not announced:
                self.say(self.owner())
                announced = True
            time.sleep(self.poll)
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._released.set()
        if self._thread is not None:
            self._thread.join()
        if self.is_held:
            self.path.unlink(missing_ok=True)

    @property
    def is_held(self) -> bool:
        """Whether the lock is still this owner's: a job that stood still may have lost it."""
        return self._read().get("token") == self.token

    def owner(self) -> str:
        """Return the holder as `host:pid`."""
        content = self._read()
        return f"{content.get('host', 'another job')}:{content.get('pid', '?')}"

    def _log_waiting(self, owner: str) -> None:
        log.info("waiting for %s, which %s is making", self.path.stem, owner)

    def _try_acquire(self) -> bool:
        """Make the lock file; return False if another owner has it."""
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        content = {"token": self.token, "host": socket.gethostname(), "pid": os.getpid()}
        content["pid_namespace"] = _pid_namespace()
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
        return True

    def _read(self) -> dict[str, object]:
        """Return the lock file's content; empty if it is missing or half written."""
        try:
            content = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _is_stale(self) -> bool:
        """Return whether the heartbeat stopped: compare the lock with a file that was touched just now."""
        clock = self.path.with_name(f".{self.token}.clock")
        try:
            clock.touch()
            return clock.stat().st_mtime - self.path.stat().st_mtime > self.stale_after
        except FileNotFoundError:
            return False
        finally:
            clock.unlink(missing_ok=True)

    def _remove_stale(self, stale: dict[str, object]) -> None:
        """Remove a lock of that content by a rename, which only one of several waiters can do."""
        removed = self.path.with_name(f".{self.token}.stale")
        try:
            self.path.rename(removed)
        except FileNotFoundError:
            return
        try:
            removed_token = json.loads(removed.read_text()).get("token")
        except ValueError:
            removed_token = None
        if removed_token != stale.get("token"):
            # Another waiter replaced the stale lock in between, so this one is alive: it is put back.
            with contextlib.suppress(FileExistsError):
                os.link(removed, self.path)
        else:
            log.warning("the owner of %s stopped without releasing it; taking over", self.path.stem)
        removed.unlink(missing_ok=True)

    def _keep_alive(self) -> None:
        """Touch the lock file until it is released, or until another job has taken it over."""
        while not self._released.wait(self.heartbeat):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                return


def _is_gone(held: dict[str, object]) -> bool:
    """Return whether a lock of that content is of a process of this machine that has ended."""
    pid = held.get("pid")
    is_ours = (held.get("host"), held.get("pid_namespace")) == (socket.gethostname(), _pid_namespace())
    if not is_ours or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, as another user's
        return False
    return False


def _pid_namespace() -> str | None:
    """Return what process ids are counted in: a container may have its own; None where that is unknown."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
