"""A lock with an owner and a heartbeat, for jobs on one machine or on a shared file system.

The lock is a file made with O_EXCL. Its owner touches it every few seconds; one that has not been
touched for `stale_after` seconds belonged to a job that was killed, and is taken over. Ages are taken
by the file system's own clock, since machines disagree about the time. What the lock guards is published
by a rename, so that even two owners at once would cost only time.
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
from pathlib import Path
from types import TracebackType

log = logging.getLogger(__name__)


class HeartbeatLock:
    """Context manager that holds the lock file at `path` for as long as its block runs."""

    def __init__(
        self, path: Path, *, heartbeat: float = 5.0, stale_after: float = 20.0, poll: float = 0.5
    ) -> None:
        self.path = path
        self.heartbeat = heartbeat
        self.stale_after = stale_after
        self.poll = poll
        self.token = uuid.uuid4().hex
        self._released = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> HeartbeatLock:
        said = False
        while not self._try_acquire():
            if self._is_stale():
                self._take_away()
                continue
            if not said:
                log.info("waiting for %s, which %s is making", self.path.stem, self.owner())
                said = True
            time.sleep(self.poll)
        self._thread = threading.Thread(target=self._beat, daemon=True)
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
        if self._read().get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def owner(self) -> str:
        """The holder as `host:pid`."""
        content = self._read()
        return f"{content.get('host', 'another job')}:{content.get('pid', '?')}"

    def _try_acquire(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        content = {"token": self.token, "host": socket.gethostname(), "pid": os.getpid()}
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
        return True

    def _read(self) -> dict[str, object]:
        try:
            content = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _is_stale(self) -> bool:
        """Whether the heartbeat stopped, by the age of the lock against a file touched just now."""
        clock = self.path.with_name(f".{self.token}.clock")
        try:
            clock.touch()
            return clock.stat().st_mtime - self.path.stat().st_mtime > self.stale_after
        except FileNotFoundError:
            return False
        finally:
            clock.unlink(missing_ok=True)

    def _take_away(self) -> None:
        """Remove a stale lock: of several waiters only one can rename it; a live one is put back."""
        stale_token = self._read().get("token")
        grave = self.path.with_name(f".{self.token}.stale")
        try:
            self.path.rename(grave)
        except FileNotFoundError:
            return
        try:
            moved_token = json.loads(grave.read_text()).get("token")
        except ValueError:
            moved_token = None
        if moved_token != stale_token:
            with contextlib.suppress(FileExistsError):
                os.link(grave, self.path)
        else:
            log.warning("the owner of %s stopped without releasing it; taking over", self.path.stem)
        grave.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(self.heartbeat):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                return
