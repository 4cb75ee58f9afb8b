"""A write-ahead record of every answer, so that a killed extraction asks nothing twice.

A call's Parquet file holds the trace's rows with the answers beside them. It is renamed into place before
the attack sees the answer, so a call is either on record, and replayed, or was never answered.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from experiment.asking.record import (
    Record,
    check_record,
    merge,
    read_call,
    records,
    runs,
    split,
    write_call,
)
from storage.files import write_atomically
from victims.defenses.base import Watch
from victims.meter import Meter
from victims.types import AccountBlocked, Answer, Oracle, QueryBatch

log = logging.getLogger(__name__)


def query_digest(batch: QueryBatch) -> str:
    """Hash of what is asked, and by which account."""
    digest = hashlib.sha256(f"{batch.account}/{tuple(batch.images.shape)}".encode())
    digest.update(batch.images.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _answer_column(answer: Answer) -> pa.Array:
    values = answer.values.cpu().numpy()
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _read_answer(column: pa.ChunkedArray) -> Answer:
    array = column.combine_chunks()
    if not pa.types.is_fixed_size_list(array.type):
        return Answer(torch.from_numpy(array.to_numpy().copy()))
    values = array.flatten().to_numpy().reshape(len(array), array.type.list_size)
    return Answer(torch.from_numpy(values.astype(np.float32, copy=True)))


def _image_column(images: Tensor) -> pa.Array:
    rows = images.cpu().contiguous().flatten(1).numpy()
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(rows.shape[1] * rows.itemsize), len(rows), [None, pa.py_buffer(rows)]
    )


def _read_images(table: pa.Table) -> Tensor:
    shape = json.loads(table.schema.metadata[b"image_shape"])
    pixels = np.frombuffer(b"".join(table["image"].to_pylist()), dtype=np.float32)
    return torch.from_numpy(pixels.reshape(-1, *shape).copy())


class Journal:
    """The calls on record in a directory, numbered within each round.

    A call has a file of its own at first. Each `merged` of them become one file, and so do those of a round
    once the next begins.
    """

    def __init__(self, directory: Path, merged: int = 256) -> None:
        self.directory, self.merged = directory, merged
        directory.mkdir(parents=True, exist_ok=True)
        self._list()

    def _list(self) -> None:
        """Take note of what is on record; remove parts that a kill left beside the file that holds them."""
        self._records = {(it.round, it.first): it for it in records(self.directory)}
        kept = {record.name for record in self._records.values()}
        for path in self.directory.glob("[0-9]*.parquet"):
            if path.name not in kept:
                path.unlink()
        self._long = [it for it in self._records.values() if it.calls > 1]

    def _holding(self, round: int, call: int) -> Record | None:
        """The file that holds a call."""
        if (record := self._records.get((round, call))) is not None:
            return record
        return next((it for it in self._long if (round, call) in it), None)

    def read(self, round: int, call: int, digest: str) -> Answer | None:
        """The recorded answer, or None where the call is not on record, or was another one."""
        record = self._holding(round, call)
        if record is None:
            return None
        table = read_call(self.directory, record, call)
        if (table.schema.metadata or {}).get(b"digest") != digest.encode():
            log.warning("journal entry %s holds other queries than this run asks; asking anew", record.name)
            self._drop_from(round, call)
            return None
        return _read_answer(table["answer"])

    def _drop_from(self, round: int, call: int) -> None:
        """Remove a call and all after it: who asks otherwise now will not ask those."""
        if (record := self._holding(round, call)) is not None and record.first < call:
            split(self.directory, record)
            self._list()
        for (number, first), record in list(self._records.items()):
            if (number, first) >= (round, call):
                (self.directory / record.name).unlink()
        self._list()

    def write(
        self,
        round: int,
        call: int,
        digest: str,
        rows: pd.DataFrame,
        answer: Answer,
        images: Tensor | None = None,
    ) -> None:
        """Put a call on record; with its images, float32 `[n, c, h, w]`, where a defense needs them again."""
        table = pa.Table.from_pandas(rows, preserve_index=False)
        table = table.append_column("answer", _answer_column(answer))
        metadata = {"digest": digest}
        if images is not None:
            table = table.append_column("image", _image_column(images))
            metadata["image_shape"] = json.dumps(images.shape[1:])
        table = table.replace_schema_metadata(metadata)
        record = Record(round, call, call)
        write_atomically(self.directory / record.name, lambda path: write_call(path, table))
        self._records[round, call] = record
        if call == 0:
            self._merge_all(round - 1)
        elif (call + 1) % self.merged == 0:
            self._merge_all(round)

    def _merge_all(self, round: int) -> None:
        """Merge the calls of a round that have files of their own."""
        alone = sorted(it for it in self._records.values() if it.round == round and it.calls == 1)
        for run in runs(alone):
            if len(run) > 1:
                whole = merge(self.directory, run)
                for part in run:
                    del self._records[round, part.first]
                self._records[round, whole.first] = whole
                self._long.append(whole)

    def drop_damaged(self) -> bool:
        """Remove (and name) files that cannot be read, whose calls are then asked again; True if any."""
        damaged = False
        for path in self._files():
            try:
                check_record(path)
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                log.warning("journal entry %s is damaged and is asked again: %s", path.name, error)
                path.unlink()
                damaged = True
        self._list()
        return damaged

    def trace(self) -> pd.DataFrame:
        """One row a query, in the order asked: the record without the answers."""
        names = pq.read_schema(self._files()[0]).names
        kept = [name for name in names if name not in ("answer", "image")]
        parts = [pq.read_table(path, columns=kept) for path in self._files()]
        return pa.concat_tables([part.replace_schema_metadata() for part in parts]).to_pandas()

    def calls_before(self, round: int) -> Iterator[tuple[QueryBatch, Answer]]:
        """The calls on record before a round, in the order asked; they must hold their images."""
        for record in self._before(round):
            for number in range(record.first, record.last + 1):
                table = read_call(self.directory, record, number)
                if not len(table):
                    continue  # all of it was refused
                account, asked_in = (table[name][0].as_py() for name in ("account", "round"))
                yield QueryBatch(_read_images(table), account, asked_in), _read_answer(table["answer"])

    def queries_before(self, round: int) -> int:
        """Queries on record in the rounds before `round`."""
        return sum(pq.read_metadata(self.directory / it.name).num_rows for it in self._before(round))

    def _before(self, round: int) -> list[Record]:
        return sorted(record for record in self._records.values() if record.round < round)

    def _files(self) -> list[Path]:
        return [self.directory / record.name for record in sorted(self._records.values())]


class JournaledOracle:
    """Answers from the journal what is on record there, and records what it has to ask.

    A watch sees what was asked before `next_round` again, and the rest as the attack asks it again. So do
    defenses that remember earlier queries, by `remind`.
    """

    def __init__(
        self,
        oracle: Oracle,
        meter: Meter,
        journal: Journal,
        device: torch.device,
        watch: Watch | None = None,
        next_round: int = 1,
        remind: Callable[[QueryBatch], None] | None = None,
    ) -> None:
        self.oracle = oracle
        self.meter = meter
        self.journal = journal
        self.device = device
        self.watch = watch
        self.remind = remind
        self._round = 0
        self._calls = 0
        asked = 0
        for batch, answer in journal.calls_before(next_round) if watch or remind else ():
            self._see_again(replace(batch, images=batch.images.to(device), first=asked), answer)
            asked += len(batch)

    def query(self, batch: QueryBatch) -> Answer:
        """The answer to a batch; each image is asked of the inner oracle once in the extraction's life."""
        self._calls = self._calls + 1 if batch.round == self._round else 0
        self._round = batch.round
        if self.watch is not None and self.watch.is_blocked(batch.account):
            raise AccountBlocked(batch.account, None)
        digest = query_digest(batch)
        recorded = self.journal.read(batch.round, self._calls, digest)
        answer = self._ask(batch, digest) if recorded is None else self._again(batch, recorded)
        if len(answer) < len(batch):
            raise AccountBlocked(batch.account, answer)
        return answer

    def _again(self, batch: QueryBatch, recorded: Answer) -> Answer:
        log.log(self._level, "round %d: %d queries answered from the journal", batch.round, len(recorded))
        self._see_again(replace(batch, images=batch.images[: len(recorded)]), recorded)
        return Answer(recorded.values.to(self.device))

    def _ask(self, batch: QueryBatch, digest: str) -> Answer:
        try:
            answer = self.oracle.query(batch)
        except BaseException:
            self.meter.take()  # of parts of the call that were answered, and are dropped with it
            raise
        rows, seen = self.meter.take(), self._observe(batch, answer)
        if seen is not None:
            answer = Answer(answer.values[: len(seen)])
            rows = pd.concat([rows[: len(seen)], seen], axis=1)
        images = batch.images[: len(answer)] if self.watch or self.remind else None
        self.journal.write(batch.round, self._calls, digest, rows, answer, images)
        log.log(self._level, "round %d: %d queries asked of the victim", batch.round, len(answer))
        return answer

    def _see_again(self, batch: QueryBatch, answer: Answer) -> None:
        if self.remind is not None:
            self.remind(batch)
        self._observe(batch, answer)

    def _observe(self, batch: QueryBatch, answer: Answer) -> pd.DataFrame | None:
        return None if self.watch is None else self.watch.observe(batch, answer)

    @property
    def _level(self) -> int:
        """A line a round: an attack that asks in many small batches would fill the log."""
        return logging.INFO if self._calls == 0 else logging.DEBUG
