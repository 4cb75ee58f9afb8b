"""The README's commands, as a user gives them; only sizes are cut where real ones would take minutes."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import ROOT, run_python
from PIL import Image

TEXT = (ROOT / "README.md").read_text()
COMMANDS = [
    line.strip()
    for block in re.findall(r"```\n(.*?)```", TEXT, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith(("make ", ".venv/"))
]
SMALL = [
    "logger=none",
    "attack.budget=40",
    "attack.round_size=20",
    "victim.recipe.epochs=1",
    "substitute.recipe.epochs=1",
    "privacy.measures.pate.teachers=3",
    "privacy.measures.pate.recipe.epochs=1",
    "privacy.measures.pknn.k=20",
    "dataset.splits={train: 'train[:200]', pool: 'train[200:]', test: test}",
]


def execute(arguments: list[str], folder: Path) -> str:
    process = run_python(*arguments, folder=folder)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


def last_step(target: str) -> str:
    """The last command that `make` would run for a target, also when make itself runs this test."""
    process = subprocess.run(
        ["make", "--no-print-directory", "-n", target],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.splitlines()[-1]


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


def test_the_commands_are_those_tested_here() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]
    assert COMMANDS[2:] == [
        command for command in COMMANDS if command.startswith(".venv/bin/python run.py -m")
    ]
    assert len(COMMANDS) > 2


def test_make_demo(tmp_path: Path) -> None:
    """The command that `make demo` comes to, in an empty folder."""
    plan = last_step("demo")
    program, script, *overrides = shlex.split(plan)
    assert program.endswith("/python")
    printed = execute([str(ROOT / script), *overrides], tmp_path)
    assert printed.count("digits ") >= 6, "a table with six cells"
    assert (tmp_path / "outputs" / "demo" / "accuracy_digits.png").stat().st_size > 10_000
    final = {
        path.parent.name: pd.read_csv(path).iloc[-1]
        for path in (tmp_path / "outputs" / "demo").glob("*/curve.csv")
    }
    assert len(final) == 6
    assert all(row["queries"] == 600 for row in final.values())
    assert final["0_digits_standard_none"]["accuracy"] > 0.9
    assert final["3_digits_knockoff_pow"]["pow_seconds"] > final["1_digits_standard_pow"]["pow_seconds"]


def test_make_test_runs_this_suite() -> None:
    assert last_step("test").endswith("-m pytest")


@pytest.mark.parametrize("command", COMMANDS[2:])
def test_a_grid(command: str, tmp_path: Path) -> None:
    """On generated images in the layout of the real ones, with everything small."""
    for name, shape in {"mnist": (28, 28), "cifar10": (32, 32, 3), "tinyimagenet32": (32, 32, 3)}.items():
        write_images(tmp_path / "data" / name, shape, train=260, test=50)
    _, script, *overrides = shlex.split(command)
    printed = execute([str(ROOT / script), *overrides, *SMALL], tmp_path)
    assert "What each stolen model cost" in printed
    cells = 1
    for override in overrides:
        cells *= len(override.split(","))
    assert len(list(tmp_path.rglob("result.json"))) >= cells
    assert len(list(tmp_path.glob("outputs/sweeps/*/*/curve.csv"))) == cells
