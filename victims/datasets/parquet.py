"""Images in Parquet files, in the layout of the Hugging Face hub.

Files are `<path>/<part>-*.parquet` with columns `image` (a struct with `bytes`) and `label` (an integer). The
schema's `huggingface` metadata may name the classes.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from storage.files import file_hash
from victims.datasets.cache import cached
from victims.datasets.decoding import decode_images
from victims.datasets.images import ImageSet

_PART = re.compile(r"(?P<part>\w+?)(-\d.*)?\.parquet")


def load(
    path: str | None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    num_classes: int | None = None,
    cache: str | None = None,
) -> dict[str, ImageSet]:
    """Return a part of the data set for each group of files.

    Args:
        path: Folder of the files.
        image_size: Height and width to resize to; None if all images have one size.
        channels: 1 for grey, 3 for colour; None for grey if all images are grey, else colour.
        num_classes: Number of classes; None takes it from the files.
        cache: Folder of the cache of decoded images; None for no cache.

    Raises:
        FileNotFoundError: There are no such files.
        ValueError: An image is broken, or a label is out of range; the message names file and row.
    """
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"dataset.num_classes must be at least 2, or null, not {num_classes}")
    if path is None:
        raise ValueError(
            "set dataset.path (or query_pool.source.path) to a folder with <part>-*.parquet files"
        )
    files = parquet_parts(Path(path))
    if not files:
        raise FileNotFoundError(f"{path} holds no <part>-*.parquet files")
    options = {"image_size": image_size, "channels": channels, "num_classes": num_classes}
    decode = functools.partial(_decode, image_size=image_size, channels=channels, num_classes=num_classes)
    parts = {}
    for part, names in files.items():
        hashes = [file_hash(name) for name in names]
        parts[part] = cached(cache, {"parquet": hashes, **options}, functools.partial(decode, names))
    return parts


def parquet_parts(path: Path) -> dict[str, list[Path]]:
    """Return the Parquet files in a folder, by the part of the data set that their names start with."""
    parts: dict[str, list[Path]] = {}
    for file in sorted(path.glob("*.parquet")):
        match = _PART.fullmatch(file.name)
        if match is not None:
            parts.setdefault(match["part"], []).append(file)
    return parts


def _decode(
    files: list[Path],
    image_size: tuple[int, int] | None,
    channels: int | None,
    num_classes: int | None,
) -> ImageSet:
    """Decode the files of one part; see `load`."""
    tables = [_read(file) for file in files]
    rows = [(file.name, row) for file, table in zip(files, tables, strict=True) for row in range(len(table))]
    column = pa.chunked_array([chunk for table in tables for chunk in table["image"].chunks])
    sources = [(image or {}).get("bytes") or b"" for image in column.to_pylist()]

    def describe(index: int) -> str:
        file, row = rows[index]
        return f"{file}, row {row}"

    images, ids = decode_images(sources, describe, image_size, channels)
    labels = torch.cat([_labels(table, file.name) for file, table in zip(files, tables, strict=True)])
    stated = {file.name: _stated_names(table) for file, table in zip(files, tables, strict=True)}
    if len(set(stated.values())) > 1:
        raise ValueError(f"the files name different classes: {stated}")
    names = _class_names(stated[files[0].name], labels, num_classes)
    _check_labels(labels, len(names), describe)
    return ImageSet.decoded(images, labels, names, ids)


def _check_labels(labels: Tensor, num_classes: int, describe: Callable[[int], str]) -> None:
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"{describe(first)}: label {int(labels[first])} is out of range for {num_classes} classes "
            "(the file's metadata or dataset.num_classes says how many)"
        )


def _read(file: Path) -> pa.Table:
    """Read a file and check its columns."""
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read as Parquet: {error}") from error
    missing = {"image", "label"} - set(table.column_names)
    if missing:
        raise ValueError(f"{file} has no column {' or '.join(sorted(missing))}; it has {table.column_names}")
    image_type = table.schema.field("image").type
    if not (pa.types.is_struct(image_type) and image_type.get_field_index("bytes") >= 0):
        raise ValueError(f"{file}: column image must be a struct with a field bytes, not {image_type}")
    return table


def _labels(table: pa.Table, name: str) -> Tensor:
    """Return the labels of a file as int64 `[n]`."""
    column = table["label"]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(f"{name}: column label must hold whole numbers without gaps, not {column.type}")
    return torch.from_numpy(column.to_numpy().astype("int64"))


def _stated_names(table: pa.Table) -> tuple[str, ...]:
    """Return the classes' names from the schema's metadata; none if it is missing or malformed."""
    try:
        metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        feature: dict[str, Any] = metadata.get("info", {}).get("features", {}).get("label", {})
        return tuple(map(str, feature.get("names") or ()))
    except (ValueError, AttributeError):
        return ()


def _class_names(names: tuple[str, ...], labels: Tensor, num_classes: int | None) -> tuple[str, ...]:
    """Return the stated names if their number fits, else the classes' numbers as names."""
    count = num_classes or len(names) or int(labels.max()) + 1
    return names if len(names) == count else tuple(map(str, range(count)))
