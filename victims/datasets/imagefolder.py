"""Images in folders: `<path>/<part>/<class>/<file>`, or `<path>/<class>/<file>` for a single part `train`.

What torchvision's ImageFolder finds is found, links to folders and files in folders of a class too; what is
left out is counted and said.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from storage.typed import Count
from victims.datasets.cache import cached
from victims.datasets.decoding import decode_images
from victims.datasets.images import ImageSet

log = logging.getLogger(__name__)

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def load(
    path: str | None,
    image_size: tuple[Count, Count] | None = None,
    channels: Literal[1, 3] | None = None,
    cache: str | None = None,
) -> dict[str, ImageSet]:
    """Return a part for each folder of class folders; the classes are those of `train`, in order.

    Args:
        path: The folder.
        image_size: Height and width to resize to; None if all images have one size.
        channels: 1 for grey, 3 for colour; None for grey if all images are grey, else colour.
        cache: Folder of the cache of decoded images; None for no cache.

    Raises:
        FileNotFoundError: There are no images.
        ValueError: An image is broken, lies in the wrong place, or has a class that `train` has not.
    """
    if path is None:
        raise ValueError(
            "set dataset.path (or query_pool.source.path) to a folder with a folder of images a class"
        )
    parts = _parts(Path(path)) if Path(path).is_dir() else {}
    if not parts:
        raise FileNotFoundError(f"{path} holds no images as <part>/<class>/<file> or <class>/<file>")
    first = parts.get("train", next(iter(parts.values())))
    classes = tuple(sorted(set(first.values())))
    return {name: _load_part(files, classes, image_size, channels, cache) for name, files in parts.items()}


def _load_part(
    class_of: dict[Path, str],
    classes: tuple[str, ...],
    image_size: tuple[int, int] | None,
    channels: int | None,
    cache: str | None,
) -> ImageSet:
    """Return one part, from the cache if it is there; see `load`."""
    _check_classes(set(class_of.values()), classes)
    files = list(class_of)
    identity = {
        "files": [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "image_size": image_size,
        "channels": channels,
        "classes": classes,
    }

    def decode() -> ImageSet:
        paths = [str(file) for file in files]
        images, ids = decode_images(paths, lambda i: paths[i], image_size, channels)
        labels = torch.tensor([classes.index(class_of[file]) for file in files])
        return ImageSet.decoded(images, labels, classes, ids)

    return cached(cache, identity, decode)


def _parts(path: Path) -> dict[str, dict[Path, str]]:
    """Return the class of each image file of each part, sorted; all are `train` at <class>/<file>."""
    found = sorted(_files(path))
    files = [file for file in found if file.suffix.lower() in SUFFIXES and not _is_hidden(file, path)]
    _say_what_is_left_out(path, set(found) - set(files))
    names = {file: file.relative_to(path).parts for file in files}
    is_one_part = any(len(place) == 2 for place in names.values())
    lost = [file for file, place in names.items() if len(place) == 1 or (is_one_part and place[0] == "train")]
    if lost:
        first = min(lost, key=lambda file: len(names[file]))
        raise ValueError(
            f"{first} lies neither at <part>/<class>/<file> nor, with all others, at <class>/<file>"
        )
    parts: dict[str, dict[Path, str]] = {}
    for file, place in names.items():
        part, name = ("train", place[0]) if is_one_part else place[:2]
        parts.setdefault(part, {})[file] = name
    _say_what_is_empty({"": path} if is_one_part else {part: path / part for part in parts}, parts)
    return parts


def _say_what_is_empty(folders: dict[str, Path], parts: dict[str, dict[Path, str]]) -> None:
    """Warn of class folders that hold no image, and so are no classes."""
    for part, folder in folders.items():
        with os.scandir(folder) as entries:
            names = {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
        if empty := sorted(names - set(parts[part or "train"].values()) - {"__MACOSX"}):
            log.warning("%s: no image lies in %s, so there is no such class", folder, ", ".join(empty))


def _files(path: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield all files below a folder; links to folders are followed, but not back to a folder above."""
    real = path.resolve()
    if real in above:
        return
    with os.scandir(path) as entries:
        for entry in entries:
            below = Path(entry.path)
            if entry.is_dir():
                yield from _files(below, (*above, real))
            else:
                yield below


def _is_hidden(file: Path, path: Path) -> bool:
    """Whether a file, or a folder that it lies in, is hidden, as what notebooks and macOS leave behind is."""
    return any(name.startswith(".") or name == "__MACOSX" for name in file.relative_to(path).parts)


def _say_what_is_left_out(path: Path, left_out: set[Path]) -> None:
    """Warn of files that are not taken for images: how many of each suffix, and how many are hidden."""
    if not left_out:
        return
    kinds = Counter("hidden" if _is_hidden(file, path) else file.suffix or "no suffix" for file in left_out)
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    log.warning(
        "%s: %d files are left out, which are no images by their names: %s", path, len(left_out), said
    )


def _check_classes(found: set[str], classes: tuple[str, ...]) -> None:
    if unknown := found - set(classes):
        raise ValueError(
            f"class folders {', '.join(sorted(unknown))} are not among those of train: {', '.join(classes)}"
        )
