"""Images in folders: `<path>/<part>/<class>/<file>`, or `<path>/<class>/<file>` for a single part `train`."""

from __future__ import annotations

from pathlib import Path

import torch

from victims.datasets.cache import cached
from victims.datasets.decoding import decode_images
from victims.datasets.images import ImageSet

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def load(
    path: str | None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
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
    parts = _parts(Path(path))
    if not parts:
        raise FileNotFoundError(f"{path} holds no images as <part>/<class>/<file> or <class>/<file>")
    first = parts.get("train", next(iter(parts.values())))
    classes = tuple(sorted({file.parent.name for file in first}))
    return {name: _load_part(files, classes, image_size, channels, cache) for name, files in parts.items()}


def _load_part(
    files: list[Path],
    classes: tuple[str, ...],
    image_size: tuple[int, int] | None,
    channels: int | None,
    cache: str | None,
) -> ImageSet:
    """Return one part, from the cache if it is there; see `load`."""
    _check_classes(files, classes)
    identity = {
        "files": [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "image_size": image_size,
        "channels": channels,
        "classes": classes,
    }

    def decode() -> ImageSet:
        paths = [str(file) for file in files]
        images, ids = decode_images(paths, lambda i: paths[i], image_size, channels)
        labels = torch.tensor([classes.index(file.parent.name) for file in files])
        return ImageSet.decoded(images, labels, classes, ids)

    return cached(cache, identity, decode)


def _parts(path: Path) -> dict[str, list[Path]]:
    """Return the image files of each part, sorted; all are `train` if they lie at <class>/<file>."""
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    depths = {len(file.relative_to(path).parts) for file in files}
    if depths == {2}:
        return {"train": files}
    parts: dict[str, list[Path]] = {}
    for file in files:
        relative = file.relative_to(path).parts
        if len(relative) != 3:
            raise ValueError(
                f"{file} lies neither at <part>/<class>/<file> nor, with all others, at <class>/<file>"
            )
        parts.setdefault(relative[0], []).append(file)
    return parts


def _check_classes(files: list[Path], classes: tuple[str, ...]) -> None:
    unknown = {file.parent.name for file in files} - set(classes)
    if unknown:
        raise ValueError(
            f"class folders {', '.join(sorted(unknown))} are not among those of train: {', '.join(classes)}"
        )
