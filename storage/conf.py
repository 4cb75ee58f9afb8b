"""Where the config lies."""

from __future__ import annotations

from pathlib import Path

CONF = Path(__file__).resolve().parents[1] / "conf"
"""The folder of the config that comes with the code: in a clone, or beside the installed packages."""
