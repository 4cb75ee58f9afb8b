"""Files that come with scikit-learn, which are read without importing it: that takes two seconds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The handwritten digits: grey values from 0 to 16, float64 `[1797, 8, 8]`, and what they are, int64."""
    table = np.loadtxt(_folder() / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def photographs() -> np.ndarray:
    """The two photographs, of a temple in China and of a flower, uint8 `[2, 427, 640, 3]`."""
    paths = [_folder() / "images" / f"{name}.jpg" for name in ("china", "flower")]
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def _folder() -> Path:
    """The folder of scikit-learn's data sets."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    return Path(found.origin).parent / "datasets"
