"""A cluster whose commands are scripts, and jobs for it, where a test asks only what is submitted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.grid.units import Stage, Unit
from sweeps.launch.folder import Job

SINFO = "2|4000|infinite|main*\n2|8000|1-00:00:00|big"
SBATCH = """#!/bin/sh
cp "$1" {folder}/script
count=$(cat {folder}/count 2> /dev/null || echo 0); count=$((count + 1)); echo $count > {folder}/count
{body}
echo "Submitted batch job $count"
"""


def play(folder: Path, monkeypatch: pytest.MonkeyPatch, sbatch: str = "", **output: str | None) -> None:
    """Commands that print this, or fail where that is None; `sbatch` is run before a job is submitted."""
    folder.mkdir(exist_ok=True)
    texts: dict[str, str | None] = {"sinfo": SINFO, "srun": "", "scontrol": "", "squeue": "", "scancel": ""}
    for name, text in (texts | output).items():
        shown = "exit 1" if text is None else f"echo {name} $@ >> {folder}/asked\ncat <<END\n{text}\nEND"
        _script(folder / name, f"#!/bin/sh\n{shown}\n")
    _script(folder / "sbatch", SBATCH.format(folder=folder, body=sbatch))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def job(
    root: Path, name: str, stage: Stage = "extract", needs: str | None = None, accelerator: str = "auto"
) -> Job:
    """A job of one unit with one cell, which is nothing but its name and the device that it wants."""
    config = {
        "attack": {"name": name, "budget": 100},
        "dataset": {"name": "digits"},
        "defense": [],
        "seed": 0,
        "trainer": {"accelerator": accelerator},
    }
    cell: Any = SimpleNamespace(
        directory=root / name,
        key=name,
        overrides=(f"attack={name}",),
        config=config,
        label=f"{name} on digits, none, seed 0",
    )
    return Job(name, stage, (Unit(name, stage, (cell,), needs),), needs)
