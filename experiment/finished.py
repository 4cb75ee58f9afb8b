"""Which cell has left its result in a folder."""

from __future__ import annotations

import json
from pathlib import Path


def finished_key(directory: Path) -> str | None:
    """The key of the cell whose result and curve lie in a folder, if both do: a report needs both."""
    return result_key(directory) if (directory / "curve.csv").is_file() else None


def result_key(directory: Path) -> str | None:
    """The key of the cell whose result lies in a folder, if any does."""
    try:
        key: str | None = json.loads((directory / "result.json").read_text())["keys"]["cell"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return key
