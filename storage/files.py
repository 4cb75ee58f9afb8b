"""Files, written so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import io
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPACE_NEEDED = 200 * 2**20
"""Bytes that must be free where results go; the demo writes a few MiB, a sweep on images some tens."""


ABANDONED_SECONDS = 3600.0
"""Age of a half-written file from which on its writer is taken to be gone."""


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under a temporary name, flush it to disk, then rename it to `path`.

    Args:
        path: The file to write; its folder exists.
        write: Writes the content to the path that it is given.
    """
    _remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what processes left that were killed while they wrote this file, once nobody can be at it."""
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > ABANDONED_SECONDS:
                old.unlink()


def write_text(path: Path, text: str) -> None:
    """Write text to a file; unlike `Path.write_text` it returns nothing."""
    path.write_text(text)


def write_tensors(path: Path, content: Any) -> None:
    """Write what `torch.load` reads; raises OSError for a full disk, which PyTorch's own writer hides."""
    import torch  # here, since most files hold no tensors

    serialized = io.BytesIO()
    torch.save(content, serialized)
    try:
        path.write_bytes(serialized.getbuffer())
    except OSError as error:  # which names no file where writing itself fails
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_tensors(path: str | Path, option: str) -> Any:
    """Read what a user's file of weights holds, on the CPU.

    Raises ValueError, naming the option, for another file: such a one can make the unpickler raise anything.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        lines = str(error).splitlines() or [""]
        why = f"{type(error).__name__}: {lines[0].partition('. ')[0]}"  # more is advice for programmers
        raise ValueError(f"{option}={path} is no file of weights ({why})") from error


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; what JSON has no type for is written as text, and NaN as null."""
    text = json.dumps(_finite(content), indent=2, sort_keys=True, default=str, allow_nan=False)
    write_atomically(path, lambda temporary: write_text(temporary, text + "\n"))


def _finite(content: Any) -> Any:
    """The content with null for numbers that JSON does not have: NaN and infinity."""
    match content:
        case float() if not math.isfinite(content):
            return None
        case dict():
            return {name: _finite(value) for name, value in content.items()}
        case list() | tuple():
            return [_finite(value) for value in content]
    return content


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy on another file system: both stay when one moves."""
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def check_writable(directory: object, option: str, make: bool = True) -> None:
    """Check that results can be written to a directory, which is made if it is missing.

    Args:
        directory: Where results will go, as the config has it.
        option: The option that names it, for the error message.
        make: Whether it is made, and written to for a try; otherwise nothing is touched.

    Raises:
        OSError: It is no folder, it cannot be written to, or fewer than `SPACE_NEEDED` bytes are free.
    """
    if not isinstance(directory, str | Path):
        raise OSError(f"{option} must name a folder, not {directory!r}")
    folder = Path(directory)
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder = _nearest(folder)
        _try_to_write(folder, touch=make)
    except OSError as error:
        raise OSError(f"cannot write to {directory} ({option}): {error.strerror or error}") from error
    free = shutil.disk_usage(folder).free
    if free < SPACE_NEEDED:
        raise OSError(
            f"only {free / 2**20:.0f} MiB are free in {directory} ({option}); at least "
            f"{SPACE_NEEDED // 2**20} MiB are needed"
        )


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _try_to_write(folder: Path, touch: bool) -> None:
    if touch:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    elif not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    elif not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
