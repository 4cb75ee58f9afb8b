"""A pickle that tells whether it was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Bomb:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)
