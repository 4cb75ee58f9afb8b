"""What no pip brings: programs of the system, and files beside the project.

A contributor's machine may lack them, so their tests are skipped there. CI lacks none: with TOLLGATE_NO_SKIPS
set, what is skipped fails (see conftest.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.commands import ROOT


def program(name: str) -> str:
    """The path of a program; its test is skipped where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def shared_file(path: str) -> Path:
    """A file or folder of `shared`, beside the project; its test is skipped where there is none."""
    found = ROOT.parent / "shared" / path
    if not found.exists():
        pytest.skip(f"shared/{path} does not lie beside the project")
    return found
