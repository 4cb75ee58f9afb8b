"""What PATE teachers voted on images, kept in the store: an image is put to them once for all cells.

Votes are the bulk of a cell's work on images, and cells ask about the same pools. Each save adds one Parquet
file to the ensemble's folder, so jobs that run at the same time never touch each other's files.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from storage.files import write_atomically
from training.batches import to_float
from victims.datasets.images import pixel_ids
from victims.measures.base import Voters

log = logging.getLogger(__name__)

NOT_KEPT = -1
"""The id of an image that no data set can hold, since its pixels are no bytes."""


def byte_image_ids(images: Tensor) -> np.ndarray:
    """`pixel_id` of each image float32 in [0, 1] `[n, c, h, w]`, int64 `[n]`; NOT_KEPT if it has none."""
    pixels = (images * 255).round().to(torch.uint8)
    exact = (to_float(pixels) == images).flatten(1).all(1)
    ids = np.full(len(images), NOT_KEPT, dtype=np.int64)
    ids[exact.cpu().numpy()] = pixel_ids(pixels[exact]).numpy()
    return ids


class RememberedVotes:
    """Voters that are asked once about each image of a data set, whichever job asks first.

    Images that an attack computes are put to the voters each time, and their votes are not kept.
    """

    def __init__(self, voters: Voters, directory: Path) -> None:
        self.voters = voters
        self.directory = directory
        self.num_classes = voters.num_classes
        self.known = self._table(np.zeros(0, dtype=np.int64), np.zeros((0, self.num_classes)))
        self._unsaved = self.known
        self._read: set[Path] = set()

    def votes(self, images: Tensor) -> Tensor:
        """See Voters."""
        ids = byte_image_ids(images)
        if not np.isin(ids, self.known.index).all():
            self._read_new_files()
        counted = self.known.reindex(ids).to_numpy(copy=True)
        missing = np.isnan(counted[:, 0])
        if missing.any():
            counted[missing] = self.voters.votes(images[torch.from_numpy(missing)]).cpu().numpy()
            new = missing & (ids != NOT_KEPT)
            self._unsaved = _joined(self._unsaved, self._table(ids[new], counted[new]))
            self.known = _joined(self.known, self._unsaved)
        return torch.from_numpy(counted).to(images.device)

    def save(self) -> None:
        """Write the votes counted since the last save."""
        if self._unsaved.empty:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(self._unsaved.index.to_numpy().data).hexdigest()[:16]
        path = self.directory / f"{name}.parquet"
        table = self._unsaved.astype(np.int32)
        write_atomically(path, lambda temporary: table.to_parquet(temporary, write_page_checksum=True))
        self._read.add(path)
        self._unsaved = self._unsaved.iloc[:0]

    def _read_new_files(self) -> None:
        """Add what this and other jobs have saved."""
        for path in sorted(set(self.directory.glob("[0-9a-f]*.parquet")) - self._read):
            self._read.add(path)
            try:
                table = pd.read_parquet(path, page_checksum_verification=True)
                self.known = _joined(self.known, self._table(table.index.to_numpy(), table.to_numpy()))
            except (pa.ArrowException, OSError, ValueError) as error:
                log.warning("votes in %s are damaged and are counted again: %s", path, error)

    def _table(self, ids: np.ndarray, votes: np.ndarray) -> pd.DataFrame:
        columns = [str(number) for number in range(self.num_classes)]
        return pd.DataFrame(votes, index=pd.Index(ids, name="image"), columns=columns, dtype=np.float64)


def _joined(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Both tables' rows, each image once."""
    joined = pd.concat([old, new])
    return joined[~joined.index.duplicated()]
