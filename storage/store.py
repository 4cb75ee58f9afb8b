"""Artefacts kept under the hash of all that made them: nothing is made twice, nothing damaged is loaded.

An entry is a directory `<root>/<kind>/<key>/` with its files, `identity.json` (what the key is the hash
of) and, written last, `DONE` with the layout and the hash of each file. It is made in `<key>.work` and
renamed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from storage.files import file_hash, write_json
from storage.lock import HeartbeatLock

log = logging.getLogger(__name__)

FORMAT = 3
"""The layout. It is raised whenever the code changes what the same configuration makes, or how an identity
is written; entries of older layouts are then left alone, and said."""

TOOK = "took.json"
"""How many seconds it took to make an artifact: in one go, so not that of one that was resumed."""


@dataclass(frozen=True)
class Entry:
    """A finished artefact: its directory, its key, and whether this call made it."""

    path: Path
    key: str
    made: bool


def identity_key(identity: Mapping[str, Any]) -> str:
    """Hash of an identity, 16 hexadecimal digits: equal for equal content, whatever the order of keys."""
    text = json.dumps({"format": FORMAT, **identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Store:
    """The artefacts under `root`, which several jobs and machines may share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    _told: ClassVar[set[Path]] = set()
    """Folders whose entries of older layouts this process has told of."""

    def get(
        self,
        kind: str,
        identity: Mapping[str, Any],
        make: Callable[[Path], None],
        *,
        resumable: bool = False,
    ) -> Entry:
        """The entry for `identity`, made by `make(directory)` if there is none that is whole.

        What a killed `make` left is cleared away, or with `resumable` handed to the next one. When
        another job is making the entry, this call waits for it. So does one that was stopped so long that
        another job took its place.
        """
        key = identity_key(identity)
        directory = self.root / kind / key
        made = False
        while not self._is_whole(directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
            with HeartbeatLock(directory.with_suffix(".lock")) as lock:
                if not self._is_whole(directory):
                    made = self._made(directory, identity, make, lock, resumable)
            if made:
                break
        return Entry(directory, key, made)

    def _made(
        self,
        directory: Path,
        identity: Mapping[str, Any],
        make: Callable[[Path], None],
        lock: HeartbeatLock,
        resumable: bool,
    ) -> bool:
        """Make and publish an entry; whether that was done before another job took over."""
        if directory.exists():
            shutil.rmtree(directory)
        work = directory.with_suffix(".work")
        if work.exists() and not resumable:
            shutil.rmtree(work)
        work.mkdir(exist_ok=True)
        self._tell_of_older(directory.parent)
        try:
            make(work)
            if lock.is_held:
                self._publish(work, directory, identity)
                return True
        except Exception:
            if lock.is_held:
                raise
        log.warning("this job stood still, and another one took over %s", directory.name)
        return False

    def has(self, kind: str, identity: Mapping[str, Any]) -> bool:
        """Whether the entry for `identity` is there, whole."""
        return self._is_whole(self.root / kind / identity_key(identity))

    def work_directory(self, kind: str, identity: Mapping[str, Any]) -> Path:
        """Where `make` works while the entry is unfinished."""
        return (self.root / kind / identity_key(identity)).with_suffix(".work")

    @staticmethod
    def _publish(work: Path, directory: Path, identity: Mapping[str, Any]) -> None:
        write_json(work / "identity.json", identity)
        files = sorted(path for path in work.rglob("*") if path.is_file() and path.name != "DONE")
        hashes = {str(path.relative_to(work)): file_hash(path) for path in files}
        write_json(work / "DONE", {"layout": FORMAT, "files": hashes})
        work.rename(directory)

    def _tell_of_older(self, folder: Path) -> None:
        """Say, once a kind and process, how many entries of another layout lie there."""
        if folder.resolve() in self._told:
            return
        self._told.add(folder.resolve())
        finished = list(folder.glob("*/DONE"))
        older = [path for path in finished if _layout(path) not in (FORMAT, None)]
        if older:
            log.warning(
                "%s holds %d entries of an older layout, which are not used: the folders in it whose DONE "
                'does not say "layout": %d may be deleted',
                folder,
                len(older),
                FORMAT,
            )

    @staticmethod
    def _is_whole(directory: Path) -> bool:
        """Whether a finished entry lies there with every file as it was written; says so if damaged."""
        if not directory.exists() or _layout(directory / "DONE") == 0:
            return False
        try:
            expected = json.loads((directory / "DONE").read_text())["files"]
            damaged = [name for name, digest in expected.items() if file_hash(directory / name) != digest]
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            damaged = [str(error)]
        if damaged:
            name = f"{directory.parent.name}/{directory.name}"
            log.warning("store entry %s is damaged (%s) and is made again", name, ", ".join(damaged))
        return not damaged


def _layout(done: Path) -> int | None:
    """The layout of a finished entry, 0 for those from before layouts were written; None if damaged."""
    try:
        content: dict[str, Any] = json.loads(done.read_text())
        return int(content.get("layout", 0))
    except (OSError, ValueError, AttributeError, TypeError):
        return None
