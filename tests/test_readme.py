"""The README's commands, as a user gives them; only sizes are cut where real ones would take minutes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

from gate.api_keys import new_account
from gate.ledgers.open import open_ledger
from support.commands import ROOT, run_program
from support.gate_server import running
from support.gates import served
from support.images import write_images
from support.readme import ASK, COMMANDS, DEFENSES, GRIDS, PLANNED, SERVE, SMALL, TEXT


def execute(arguments: list[str], folder: Path, **environment: str) -> str:
    process = run_program(*arguments, folder=folder, **environment)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


def last_step(target: str) -> str:
    """The last command that `make` would run for a target."""
    return steps(target)[-1]


def steps(target: str) -> list[str]:
    """The commands that `make` would run for a target, also when make itself runs this test."""
    process = subprocess.run(
        ["make", "--no-print-directory", "-n", target],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.splitlines()


def test_the_commands_are_those_tested_here() -> None:
    assert ["make demo", "make test", *GRIDS, *PLANNED, SERVE, *ASK] == COMMANDS
    assert GRIDS
    assert len(PLANNED) == 3
    assert len(ASK) == 2


@pytest.mark.install
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


def test_make_test_all_runs_every_test_once() -> None:
    """`make test` leaves out exactly what `make test-slow` runs, and `make test-all` is both."""
    quick, slow = (shlex.split(last_step(target)) for target in ("test", "test-slow"))
    assert quick[:-1] == slow[:-1]
    assert quick[-1] == f"not ({slow[-1]})"
    assert steps("test-all")[-2:] == [last_step("test"), last_step("test-slow")]


def test_make_test_runs_this_suite() -> None:
    assert "-m pytest --numprocesses auto" in last_step("test")


@pytest.mark.parametrize("command", GRIDS)
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


def test_a_plan(tmp_path: Path) -> None:
    """The whole grid of the paper's size, planned on generated images."""
    for name, shape in {"mnist": (28, 28), "tinyimagenet32": (32, 32, 3)}.items():
        write_images(tmp_path / "data" / name, shape, train=260, test=50)
    _, script, *overrides = shlex.split(PLANNED[0])
    printed = execute([str(ROOT / script), *overrides, *SMALL], tmp_path)
    assert "342 cells (228 more are one of them under another name), 0 of them done" in printed
    assert "3 victims (3 to prepare), 57 extractions (57 to run, 0 to price only)" in printed
    assert not list(tmp_path.rglob("result.json"))


def test_the_grid_of_defenses(tmp_path: Path) -> None:
    """The command in docs/defenses.md, planned on generated images: every defense against each attacker."""
    for name, shape in {"mnist": (28, 28), "tinyimagenet32": (32, 32, 3)}.items():
        write_images(tmp_path / "data" / name, shape, train=260, test=50)
    grid, report = re.findall(r"^\.venv/bin/python (.*)$", DEFENSES, flags=re.MULTILINE)
    script, *overrides = shlex.split(grid)
    printed = execute([str(ROOT / script), *overrides, *SMALL, "--dry-run"], tmp_path)
    assert "156 cells (240 more are one of them under another name), 0 of them done" in printed
    assert printed.rstrip().endswith("/outputs/defenses_mnist") and report.endswith(" outputs/defenses_mnist")
    options = {path.stem for path in (ROOT / "conf" / "defense").glob("*.yaml")}
    assert set(re.findall(r"^\*\*`(\w+)`\*\*", DEFENSES, flags=re.MULTILINE)) == options
    assert set(re.findall(r"^\| `(\w+)`", DEFENSES, flags=re.MULTILINE)) == options


def test_the_gate(tmp_path: Path) -> None:
    """The server, a person's question and an attack over the wire, with a small victim."""
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "image.png")
    small = [option for option in SMALL if not option.startswith("dataset.")]
    _, script, *options = shlex.split(SERVE)
    with served(str(ROOT / script), *options, *small, "server.port=0", folder=tmp_path) as server:
        for command in ASK:
            _, _, *arguments = shlex.split(command)
            arguments = [argument.replace("http://127.0.0.1:8000", server.url) for argument in arguments]
            if arguments[0] == "run.py":
                arguments = [str(ROOT / "run.py"), *arguments[1:], *small, f"oracle.url={server.url}"]
            printed = execute(arguments, tmp_path, TOLLGATE_KEY=server.key)
            assert "paid with" in printed or "knockoff on digits" in printed


def test_the_gate_in_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both blocks: a model of one's own behind the gate, asked by the client."""
    client, server = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    apps: list[FastAPI] = []
    monkeypatch.setattr(uvicorn, "run", apps.append)
    monkeypatch.chdir(tmp_path)
    weights = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)

    def model(images: np.ndarray) -> np.ndarray:
        scores = np.exp(images.reshape(len(images), -1) @ weights / 28)
        return scores / scores.sum(1, keepdims=True)

    exec(server.replace("each=0.5", "each=0.01"), {"model": model})
    images = np.random.default_rng(1).random((3, 1, 28, 28), dtype=np.float32)
    ledger = open_ledger("ledger.sqlite")
    names: dict[str, Any] = {"images": images, "key": new_account(ledger, "someone")}
    ledger.close()
    with running(apps[0]) as url:
        exec(client.replace("http://127.0.0.1:8000", url), names)
    np.testing.assert_allclose(names["probabilities"], model(images), rtol=1e-6)
