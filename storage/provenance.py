"""Provenance: which code and which packages made a result."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("tollgate", "torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy")
COMMIT_FILE = "COMMIT"
"""A file beside a copy of our packages; it holds the commit that they were copied from."""


def package_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that can change a figure; None if not installed."""
    return {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of the running code, with `+` appended if files differ from it; None if unknown."""
    here = Path(__file__).resolve().parent
    copied = here.parent / COMMIT_FILE
    if copied.exists():
        return copied.read_text() or None
    try:
        output = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return output.stdout.strip()


def slurm_job() -> str | None:
    """The SLURM job that this process is part of, as squeue calls it: `12`, or `12_3` of an array."""
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{number}" if array else os.environ.get("SLURM_JOB_ID")
