"""The files of a journal: calls of a round that follow each other, a row group a call.

`000002-000017.parquet` holds call 17 of round 2, `000002-000000-000255.parquet` the first 256 calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.files import write_atomically

NAME = re.compile(r"(\d{6,})-(\d{6,})(?:-(\d{6,}))?\.parquet")


@dataclass(frozen=True, order=True)
class Record:
    """A file, by its round and its calls: `first` to `last`, with both."""

    round: int
    first: int
    last: int

    @property
    def name(self) -> str:
        """The name of its file."""
        last = "" if self.last == self.first else f"-{self.last:06d}"
        return f"{self.round:06d}-{self.first:06d}{last}.parquet"

    @property
    def calls(self) -> int:
        """How many calls it holds."""
        return self.last - self.first + 1

    def __contains__(self, call: tuple[int, int]) -> bool:
        """Whether it holds a call, given as round and number."""
        return call[0] == self.round and self.first <= call[1] <= self.last


def records(directory: Path) -> list[Record]:
    """The files of a directory in the order asked, but for those whose calls a larger one holds, too."""
    found = []
    for path in directory.iterdir():
        if match := NAME.fullmatch(path.name):
            round, first, last = match.groups()
            found.append(Record(int(round), int(first), int(last or first)))
    long = [record for record in found if record.calls > 1]
    loose = [it for it in found if it.calls == 1 and not any((it.round, it.first) in held for held in long)]
    return sorted(long + loose)


def merge(directory: Path, parts: Sequence[Record]) -> Record:
    """Put calls that follow each other into one file; a kill leaves the parts, that file, or both."""
    merged = Record(parts[0].round, parts[0].first, parts[-1].last)
    schemas = [pq.read_schema(directory / part.name) for part in parts]
    digests = [schema.metadata[b"digest"].decode() for schema in schemas]
    whole = schemas[0].metadata | {b"digests": json.dumps(digests).encode()}
    schema = schemas[0].with_metadata(whole)

    def write(path: Path) -> None:
        with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
            for part in parts:
                table = pq.read_table(directory / part.name, page_checksum_verification=True)
                writer.write_table(table.replace_schema_metadata(whole), row_group_size=max(len(table), 1))

    write_atomically(directory / merged.name, write)
    for part in parts:
        (directory / part.name).unlink()
    return merged


def split(directory: Path, record: Record) -> None:
    """Put the calls of a file into files of their own again."""
    for number in range(record.first, record.last + 1):
        part = Record(record.round, number, number)
        table = read_call(directory, record, number)
        write_atomically(directory / part.name, lambda path, table=table: write_call(path, table))  # type: ignore[misc]
    (directory / record.name).unlink()


def write_call(path: Path, table: pa.Table) -> None:
    """Write the file of one call, whose digest is in the table's metadata."""
    pq.write_table(table, path, write_page_checksum=True)


def check_record(path: Path) -> None:
    """Read all of a file; raises ArrowException, OSError, ValueError or KeyError where it is damaged."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        file.read()
        head = file.schema_arrow.metadata or {}
        if b"digests" in head:
            calls = len(json.loads(head[b"digests"]))
            if calls != file.num_row_groups:
                raise ValueError(f"it names {calls} calls, and has {file.num_row_groups}")
        else:
            head[b"digest"].decode()


def read_call(directory: Path, record: Record, number: int) -> pa.Table:
    """Read a call of a file, with its digest in the table's metadata."""
    path = directory / record.name
    if record.calls == 1:
        return pq.read_table(path, page_checksum_verification=True)
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        head = dict(file.schema_arrow.metadata)
        digest = json.loads(head.pop(b"digests"))[number - record.first]
        table = file.read_row_group(number - record.first)
        return table.replace_schema_metadata(head | {b"digest": digest.encode()})


def runs(parts: Sequence[Record]) -> Iterator[list[Record]]:
    """Group files of one round, in order, by runs of calls that follow each other."""
    run: list[Record] = []
    for part in parts:
        if run and run[-1].last + 1 != part.first:
            yield run
            run = []
        run.append(part)
    if run:
        yield run
