"""MNIST, FashionMNIST, SVHN, CIFAR10 and CIFAR100, from Parquet files or from torchvision's own."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from storage.typed import Count
from victims.datasets import parquet
from victims.datasets.cache import cached
from victims.datasets.images import ImageSet, check_image_size

NAMES = ("MNIST", "FashionMNIST", "SVHN", "CIFAR10", "CIFAR100")


def load(
    name: str,
    path: str,
    image_size: tuple[Count, Count] | None = None,
    channels: Literal[1, 3] | None = None,
    cache: str | None = None,
    download: bool = True,
) -> dict[str, ImageSet]:
    """Return the parts `train` and `test`.

    Args:
        name: One of `NAMES`.
        path: Folder with `<part>-*.parquet`, or with torchvision's files.
        image_size: Height and width to resize to; None keeps the size.
        channels: 1 for grey, 3 for colour; None keeps them.
        cache: Folder of the cache of decoded images; None for no cache.
        download: Whether missing files are downloaded.

    Raises:
        ValueError: There is no such data set, or an option is out of range.
        FileNotFoundError: Files are missing and cannot be downloaded; the message says what to put where.
    """
    if name not in NAMES:
        raise ValueError(f"{name!r} is none of torchvision's data sets known here: {', '.join(NAMES)}")
    check_image_size(image_size)
    if parquet.parquet_parts(Path(path)):
        return parquet.load(path, image_size, channels, cache=cache)
    parts = {}
    for part in ("train", "test"):
        dataset = _open(name, path, part == "train", download)
        identity = {"torchvision": name, "part": part, "files": _files(Path(path))}
        whole = cached(cache, identity, functools.partial(_tensors, dataset))
        shape = (channels or whole.image_shape[0], *(image_size or whole.image_shape[1:]))
        parts[part] = whole.conform(shape)
    return parts


def _open(name: str, path: str, train: bool, download: bool) -> Any:
    """Return torchvision's data set, downloaded if it is missing and may be."""
    import torchvision

    factory = getattr(torchvision.datasets, name)
    which = {"split": "train" if train else "test"} if name == "SVHN" else {"train": train}
    try:
        return factory(path, download=False, **which)
    except RuntimeError as missing:
        if not download:
            raise FileNotFoundError(_where_to_put(name, path)) from missing
    try:
        return factory(path, download=True, **which)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(f"{_where_to_put(name, path)} Downloading it failed: {error}") from error


def _files(path: Path) -> list[list[str | int]]:
    """Return names, sizes and times of the files in a folder, by which a change of them is noticed."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _where_to_put(name: str, path: str) -> str:
    return (
        f"{name} is not in {path}. Put train-*.parquet and test-*.parquet there (columns image or img, and "
        f"label, as on the Hugging Face hub), or what torchvision.datasets.{name}({path!r}, download=True) "
        "leaves on a machine with a network; paths.data=FOLDER looks for data sets elsewhere, "
        "dataset.path=FOLDER for this one."
    )


def _tensors(dataset: Any) -> ImageSet:
    """Return images and labels of a torchvision data set; the order of dimensions differs between them."""
    images = torch.as_tensor(np.asarray(dataset.data))
    if images.dim() == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    labels = dataset.labels if hasattr(dataset, "labels") else dataset.targets
    names = getattr(dataset, "classes", None) or [str(digit) for digit in range(10)]
    return ImageSet.decoded(
        images.contiguous(), torch.as_tensor(np.asarray(labels)).long(), tuple(map(str, names))
    )
