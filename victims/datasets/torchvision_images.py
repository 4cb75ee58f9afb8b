"""MNIST, FashionMNIST, SVHN, CIFAR10, CIFAR100: from Parquet files where they lie, else by torchvision."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from victims.datasets import parquet
from victims.datasets.cache import cached
from victims.datasets.images import ImageSet, check_image_size

NAMES = ("MNIST", "FashionMNIST", "SVHN", "CIFAR10", "CIFAR100")


def load(
    name: str,
    path: str,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    cache: str | None = None,
    download: bool = True,
) -> dict[str, ImageSet]:
    """Parts `train` and `test`, from `<path>/<part>-*.parquet` or from torchvision's files in `path`.

    What is missing is downloaded. Raises FileNotFoundError, saying what to put where, if it cannot be.
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
    """Names, sizes and times of the files in a folder, which change when what is in them does."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _where_to_put(name: str, path: str) -> str:
    return (
        f"{name} is not in {path}. Put train-*.parquet and test-*.parquet there (columns image and label, as "
        f"on the Hugging Face hub), or what torchvision.datasets.{name}({path!r}, download=True) leaves on a "
        "machine with a network; paths.data=FOLDER looks for data sets elsewhere, dataset.path=FOLDER "
        "for this one."
    )


def _tensors(dataset: Any) -> ImageSet:
    """Images and labels of a torchvision data set, whose arrays differ in their order of dimensions."""
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
