"""Data sets of random images, as Parquet files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def write_images(folder: Path, shape: tuple[int, ...], **parts: int) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in parts.items():
        images = []
        for array in random.integers(0, 256, (count, *shape), dtype=np.uint8):
            buffer = io.BytesIO()
            Image.fromarray(array).save(buffer, "PNG")
            images.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"image": images, "label": [i % 10 for i in range(count)]})
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")
