"""Decoded images on disk, so that compressed files are decoded once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from victims.datasets.images import ImageSet, content_hash

log = logging.getLogger(__name__)


def cached(cache: str | None, identity: Mapping[str, Any], decode: Callable[[], ImageSet]) -> ImageSet:
    """The part that `identity` describes: from the folder `cache`, else decoded and kept there.

    A file whose content is not what was written is named in a warning and made again.
    """
    if cache is None:
        return decode()
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(cache) / f"{key}.pt"
    part = _read(path)
    if part is None:
        part = decode()
        _write(path, part)
    return part


def _read(path: Path) -> ImageSet | None:
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
        )
        if content_hash(part.images, part.labels) == part.source:
            return part
        reason = "its content has changed"
    except (RuntimeError, EOFError, KeyError, TypeError, OSError, pickle.UnpicklingError) as error:
        reason = str(error)
    log.warning("cached images %s are damaged and are decoded again: %s", path, reason)
    return None


def _write(path: Path, part: ImageSet) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": part.images,
        "labels": part.labels,
        "class_names": list(part.class_names),
        "source": part.source,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    torch.save(content, temporary)
    temporary.replace(path)
