"""Images in Parquet files, in the layout of the Hugging Face hub.

Files are `<path>/<part>-*.parquet` with a column of images (their bytes, or a struct with `bytes`) and one of
labels (integers or words). The schema's `huggingface` metadata may name the classes.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from storage.files import file_hash
from storage.typed import Count
from victims.datasets.cache import cached
from victims.datasets.decoding import decode_images
from victims.datasets.images import ImageSet

_PART = re.compile(r"(?P<part>\w+?)(-\d.*)?\.parquet")
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5}).*\.parquet")

NAMES = b"classes"
"""Under which a table's metadata keeps the classes' names, once it is read."""

COLUMNS = {
    "image": ("image", "img", "picture", "jpg", "png"),
    "label": ("label", "labels", "fine_label", "cls", "class", "target"),
}
"""Names that the two columns have on the hub, the first that is there being taken."""


def load(
    path: str | None,
    image_size: tuple[Count, Count] | None = None,
    channels: Literal[1, 3] | None = None,
    num_classes: Count | None = None,
    cache: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> dict[str, ImageSet]:
    """Return a part of the data set for each group of files.

    Args:
        path: Folder of the files.
        image_size: Height and width to resize to; None if all images have one size.
        channels: 1 for grey, 3 for colour; None for grey if all images are grey, else colour.
        num_classes: Number of classes; None takes it from the files.
        cache: Folder of the cache of decoded images; None for no cache.
        columns: Names of the columns `image` and `label`; None, or one left out: one of `COLUMNS`.

    Raises:
        FileNotFoundError: There are no such files, or some of those that their names count are missing.
        ValueError: An image is broken, or a label is out of range; the message names file and row.
    """
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"dataset.num_classes must be at least 2, or null, not {num_classes}")
    unknown = set(columns or {}) - set(COLUMNS)
    if unknown:
        raise ValueError(f"dataset.columns has image and label, not {', '.join(sorted(map(str, unknown)))}")
    files = _files(path)
    options: dict[str, Any] = {
        "image_size": image_size,
        "channels": channels,
        "num_classes": num_classes,
        "columns": dict(columns or {}),
        "words": _words([name for names in files.values() for name in names], columns or {}),
    }
    decode = functools.partial(_decode, **options)
    parts = {}
    for part, names in files.items():
        _check_complete(names)
        hashes = [file_hash(name) for name in names]
        parts[part] = cached(cache, {"parquet": hashes, **options}, functools.partial(decode, names))
    return parts


def _files(path: str | None) -> dict[str, list[Path]]:
    """The files of each part; raises where there is no folder, or nothing in it."""
    if path is None:
        raise ValueError(
            "set dataset.path (or query_pool.source.path) to a folder with <part>-*.parquet files"
        )
    files = parquet_parts(Path(path))
    if not files:
        raise FileNotFoundError(f"{path} holds no <part>-*.parquet files")
    return files


def parquet_parts(path: Path) -> dict[str, list[Path]]:
    """Return the Parquet files in a folder, by the part of the data set that their names start with."""
    parts: dict[str, list[Path]] = {}
    for file in sorted(path.glob("*.parquet")):
        match = _PART.fullmatch(file.name)
        if match is not None:
            parts.setdefault(match["part"], []).append(file)
    return parts


def _check_complete(files: list[Path]) -> None:
    """Raise FileNotFoundError where files of `<part>-00001-of-00003.parquet` are missing."""
    shards = [match for file in files if (match := _SHARD.fullmatch(file.name))]
    if not shards:
        return
    counts = {int(shard["count"]) for shard in shards}
    if len(counts) > 1:
        raise ValueError(
            f"{files[0].parent} mixes files of {' and of '.join(map(str, sorted(counts)))} "
            f"({', '.join(file.name for file in files[:4])}); keep those of one download"
        )
    count, stem = counts.pop(), shards[0]["stem"]
    numbers = sorted(set(range(count)) - {int(shard["number"]) for shard in shards})
    if numbers:
        missing = ", ".join(f"{stem}-{number:05}-of-{count:05}.parquet" for number in numbers[:5])
        raise FileNotFoundError(f"{files[0].parent} lacks {len(numbers)} of {count} files: {missing}")


def _decode(
    files: list[Path],
    image_size: tuple[int, int] | None,
    channels: int | None,
    num_classes: int | None,
    columns: Mapping[str, str],
    words: tuple[str, ...],
) -> ImageSet:
    """Decode the files of one part, whose labels may be some of the words; see `load`."""
    tables = [_read(file, columns) for file in files]
    rows = [(file.name, row) for file, table in zip(files, tables, strict=True) for row in range(len(table))]
    column = pa.chunked_array([chunk for table in tables for chunk in table["image"].chunks])
    sources = [_encoded(image) for image in column.to_pylist()]

    def describe(index: int) -> str:
        file, row = rows[index]
        return f"{file}, row {row}"

    images, ids = decode_images(sources, describe, image_size, channels)
    stated = _stated(files, tables) or words
    labels = torch.cat([_labels(table, file.name, stated) for file, table in zip(files, tables, strict=True)])
    names = _class_names(stated, labels, num_classes)
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


def _encoded(image: bytes | Mapping[str, Any] | None) -> bytes:
    """The encoded image of a row; empty where the row has none."""
    return (image if isinstance(image, bytes) else (image or {}).get("bytes")) or b""


def _read(file: Path, columns: Mapping[str, str]) -> pa.Table:
    """Read a file's two columns, under the names `image` and `label`, and check the images' type."""
    with _readable(file):
        table = pq.read_table(file)
    found = _columns(table.column_names, columns, file)
    names = _stated_names(table, found["label"])
    table = table.select([found["image"], found["label"]]).rename_columns(["image", "label"])
    kind = table.schema.field("image").type
    if not _holds_bytes(kind):
        raise ValueError(
            f"{file}: column {found['image']} must hold images' bytes, or a struct with a field "
            f"bytes, not {kind}"
        )
    return table.replace_schema_metadata({NAMES: json.dumps(names)})


def _columns(there: list[str], columns: Mapping[str, str], file: Path) -> dict[str, str]:
    """The names of a file's columns of images and of labels, among those that are there."""
    return {kind: _column(there, kind, columns.get(kind), file) for kind in COLUMNS}


def _column(there: list[str], kind: str, given: str | None, file: Path) -> str:
    """The name of the column of images or of labels in a file."""
    names = (given,) if given else COLUMNS[kind]
    found = next((name for name in names if name in there), None)
    if found is None:
        raise ValueError(
            f"{file} has no column {' or '.join(names)}; it has {', '.join(there)}: choose with "
            "dataset.columns={image: NAME, label: NAME}"
        )
    return found


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _stated(files: list[Path], tables: list[pa.Table]) -> tuple[str, ...]:
    """The classes' names that all files state, if they do."""
    stated: dict[str, tuple[str, ...]] = {
        file.name: tuple(json.loads(table.schema.metadata[NAMES]))
        for file, table in zip(files, tables, strict=True)
    }
    if len(set(stated.values())) > 1:
        raise ValueError(f"the files name different classes: {stated}")
    return stated[files[0].name]


def _words(files: list[Path], columns: Mapping[str, str]) -> tuple[str, ...]:
    """The words that label rows of any part, sorted: a class that one part lacks has its number there too."""
    found: set[str] = set()
    for file in files:
        with _readable(file):
            schema = pq.read_schema(file)
        label = _columns(schema.names, columns, file)["label"]
        if _holds_words(schema.field(label).type):
            found |= set(pq.read_table(file, columns=[label])[label].unique().to_pylist())
    return tuple(sorted(word for word in found if word is not None))


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Raise ValueError where a file cannot be read."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read as Parquet: {error}") from error


def _holds_words(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _labels(table: pa.Table, name: str, classes: tuple[str, ...]) -> Tensor:
    """Return the labels of a file as int64 `[n]`; words are those of the classes."""
    column = table["label"]
    if _holds_words(column.type) and not column.null_count:
        places = {word: place for place, word in enumerate(classes)}
        words = column.to_pylist()
        if unknown := sorted(set(words) - set(places)):
            raise ValueError(f"{name}: label {unknown[0]!r} is none of the classes {', '.join(classes)}")
        return torch.tensor([places[word] for word in words], dtype=torch.int64)
    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(
            f"{name}: column label must hold whole numbers or words, without gaps, not {column.type} with "
            f"{column.null_count} gaps"
        )
    return torch.from_numpy(column.to_numpy().astype("int64"))


def _stated_names(table: pa.Table, label: str) -> tuple[str, ...]:
    """Return the classes' names from the schema's metadata; none if it is missing or malformed."""
    try:
        metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        feature: dict[str, Any] = metadata.get("info", {}).get("features", {}).get(label, {})
        return tuple(map(str, feature.get("names") or ()))
    except (ValueError, AttributeError):
        return ()


def _class_names(names: tuple[str, ...], labels: Tensor, num_classes: int | None) -> tuple[str, ...]:
    """Return the stated names if their number fits, else the classes' numbers as names."""
    count = num_classes or len(names) or int(labels.max()) + 1
    return names if len(names) == count else tuple(map(str, range(count)))
