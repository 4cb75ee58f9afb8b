"""A cache of decoded images on disk, so that compressed files are decoded once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from storage.files import write_tensors
from victims.datasets.images import ImageSet, content_hash

log = logging.getLogger(__name__)

FORMAT = 4
"""Version of the decoding; it is raised when the same files would be decoded into something else."""


def cached(cache: str | None, identity: Mapping[str, Any], decode: Callable[[], ImageSet]) -> ImageSet:
    """Return a part of a data set from the cache, or decode it and keep it there.

    A damaged file of the cache is named in a warning, and made again.

    Args:
        cache: Folder of the cache; None for no cache.
        identity: What decides the decoded images: files, sizes, options. Its hash is the file's name.
        decode: Decodes the part.
    """
    if cache is None:
        return decode()
    text = json.dumps({"format": FORMAT, **identity}, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = Path(cache) / f"{key}.pt"
    part = _read(path)
    if part is None:
        part = decode()
        _write(path, part)
    return part


def _read(path: Path) -> ImageSet | None:
    """Return the part in a file of the cache; None if it is missing or damaged."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, weights_only=True)
        part = ImageSet(
            content["images"],
            content["labels"],
            tuple(content["class_names"]),
            content["source"],
            torch.arange(len(content["images"])),
            content["ids"],
        )
        if _checksum(part) == content["checksum"]:
            return part
        reason = "its content has changed"
    except Exception as error:  # damage can make the unpickler raise anything
        reason = str(error)
    log.warning("cached images %s are damaged and are decoded again: %s", path, reason)
    return None


def _checksum(part: ImageSet) -> str:
    """Return a hash of all that a file of the cache holds."""
    description = json.dumps([part.source, part.class_names])
    return content_hash(description, part.images, part.labels, part.ids)


def _write(path: Path, part: ImageSet) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": part.images,
        "labels": part.labels,
        "class_names": list(part.class_names),
        "source": part.source,
        "ids": part.ids,
        "checksum": _checksum(part),
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write_tensors(temporary, content)
    temporary.replace(path)
