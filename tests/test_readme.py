"""The commands of the documents, as a user gives them; only sizes are cut where real ones would take minutes.

Each command is run here or in a test that is named beside it, and each is checked for what its subcommand
knows: flags, options and keys.
"""

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
from support.gates.served import served
from support.gates.server import running
from support.grids.reports import write_cell
from support.images import write_images
from support.readme import GRID, OWN, PLANNED, SMALL, SMALL_DIGITS, blocks, commands, options, save_files

GATE = commands("docs/gate.md")
SERVE, ASK, ATTACK, *ACCOUNTS = GATE
STRENGTHS = (0.25, 0.5, 1, 2, 4)


def execute(*arguments: str, folder: Path, **environment: str) -> str:
    """What `tollgate ARGUMENTS` prints; it must end well and complain of nothing."""
    path = os.pathsep.join(filter(None, (str(ROOT), environment.pop("PYTHONPATH", ""))))
    process = run_program("-m", "commands", *arguments, folder=folder, PYTHONPATH=path, **environment)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


def small_images(folder: Path, **shapes: tuple[int, ...]) -> None:
    for name, shape in shapes.items():
        write_images(folder / "data" / name, shape, train=260, test=50)


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


def test_the_commands_of_the_readme_are_those_run_here() -> None:
    assert ["make demo", "make test", GRID.line, OWN.line] == [it.line for it in commands("README.md")]
    assert [command.arguments[0] for command in (GRID, OWN)] == ["run", "run"]


def test_the_readme_fits_on_a_screen_and_ends_with_links() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 80
    for page in re.findall(r"\]\(([\w./]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / page).exists(), page


@pytest.mark.install
def test_make_demo(tmp_path: Path) -> None:
    """The command that `make demo` comes to, in an empty folder."""
    _, _, *overrides = shlex.split(last_step("demo"))
    printed = execute("run", *overrides, folder=tmp_path)
    rows = re.findall(r"^(?:standard|knockoff|jacobian)\w* .*\d$", printed, re.MULTILINE)
    assert len(rows) == 6 and "data set: digits" in printed, "a table with six cells"
    assert (tmp_path / "outputs" / "demo" / "accuracy_digits.png").stat().st_size > 10_000
    final = {
        path.parent.name.split("_s0_")[0]: pd.read_csv(path).iloc[-1]
        for path in (tmp_path / "outputs" / "demo").glob("*/curve.csv")
    }
    assert len(final) == 6
    assert all(row["queries"] == 600 for row in final.values())
    assert final["digits_standard_none"]["accuracy"] > 0.9
    assert final["digits_knockoff_pow_x1"]["pow_seconds"] > final["digits_standard_pow_x1"]["pow_seconds"]


def test_make_test_all_runs_every_test_once() -> None:
    """`make test` leaves out exactly what `make test-slow` runs, and `make test-all` is both."""
    quick, slow = (shlex.split(last_step(target)) for target in ("test", "test-slow"))
    assert quick[:-1] == slow[:-1]
    assert quick[-1] == f"not ({slow[-1]})"
    assert steps("test-all")[-2:] == [last_step("test"), last_step("test-slow")]


def test_make_test_runs_this_suite() -> None:
    assert "-m pytest --numprocesses auto" in last_step("test")


@pytest.mark.slow  # a whole grid
def test_the_grid_and_a_replay_of_one_of_its_traces(tmp_path: Path) -> None:
    """On generated images in the layout of the real ones, with everything small."""
    small_images(tmp_path, mnist=(28, 28), tinyimagenet32=(32, 32, 3))
    printed = execute(*GRID.with_overrides(SMALL), folder=tmp_path)
    assert "What each stolen model cost" in printed
    assert len(list(tmp_path.rglob("result.json"))) >= 6
    assert len(list(tmp_path.glob("outputs/sweeps/*/*/curve.csv"))) == 6
    (replay,) = [it for it in commands("docs/sweeps.md") if it.arguments[0] == "replay"]
    trace = next(tmp_path.glob("outputs/sweeps/*/*_none_s0_*/trace.parquet"))
    arguments = [str(trace) if argument == "TRACE" else argument for argument in replay.arguments]
    assert "rtx4090" in execute(*arguments, folder=tmp_path)


@pytest.mark.slow  # a whole sweep
def test_an_attack_of_ones_own_outside_the_repository(tmp_path: Path) -> None:
    assert save_files("README.md", tmp_path) == ["mine/brightest.py", "mine/conf/attack/brightest.yaml"]
    printed = execute(*OWN.with_overrides(SMALL_DIGITS), folder=tmp_path, **OWN.environment)
    assert "brightest on digits" in printed
    assert len(list(tmp_path.glob("outputs/sweeps/*/digits_brightest_pow_x1_s0_*/curve.csv"))) == 1


def test_one_thing_of_each_kind_as_contributing_adds_them(tmp_path: Path) -> None:
    """All of them in one cell: an attack, a defense, a data set, a measure, a calibration and a puzzle."""
    assert len(save_files("CONTRIBUTING.md", tmp_path)) == 12
    examples = [it for it in commands("CONTRIBUTING.md") if it.program == "tollgate"]
    assert len(examples) == 6
    chosen = dict(override.rsplit("=", 1) for it in examples for override in it.overrides)
    chosen |= {
        "dataset": "bars",
        "pow_calibration": "quadratic",
        "defense": "[tempered,pow]",
        "attack": "brightest",
    }
    overrides = [f"{key}={value}" for key, value in chosen.items()] + SMALL_DIGITS
    config_dir = ["--config-dir", str(examples[0].config_dir)]
    printed = execute("run", *overrides, *config_dir, folder=tmp_path, **examples[0].environment)
    assert "brightest on bars" in printed
    (curve,) = tmp_path.glob("outputs/runs/*/curve.csv")
    last = pd.read_csv(curve).iloc[-1]
    assert last["queries"] == 40 and last["cost_doubt"] > 0 and last["pow_seconds"] > 0


@pytest.mark.slow  # it composes a grid of hundreds of cells
def test_a_plan(tmp_path: Path) -> None:
    """The whole grid of the paper's size, planned on generated images."""
    small_images(tmp_path, mnist=(28, 28), tinyimagenet32=(32, 32, 3))
    printed = execute(*PLANNED[0].with_overrides(SMALL), folder=tmp_path)
    extractions = 3 * len(options("attack") - {"random"})  # which is another name of standard
    cells = extractions * len(["none", *STRENGTHS])
    assert re.search(
        rf"^{cells} cells \(\d+ more are one of them under another name\), 0 of them done", printed
    )
    assert (
        f"3 victims (3 to prepare), {extractions} extractions ({extractions} to run, 0 to price only)"
        in printed
    )
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.slow  # a whole grid
def test_the_grid_of_defenses(tmp_path: Path) -> None:
    """The commands in docs/defenses.md, planned on generated images: every defense against each attacker."""
    small_images(tmp_path, mnist=(28, 28), tinyimagenet32=(32, 32, 3))
    grid, report, of_today = commands("docs/defenses.md")
    printed = execute(*grid.with_overrides(SMALL), "--dry-run", folder=tmp_path)
    assert "192 cells (312 more are one of them under another name), 0 of them done" in printed
    assert printed.rstrip().endswith("/outputs/defenses_mnist")
    assert report.arguments == ("report", "outputs/defenses_mnist")
    printed = execute(*of_today.with_overrides(SMALL_DIGITS), "--dry-run", folder=tmp_path)
    assert "54 cells, 0 of them done" in printed


def test_the_report(tmp_path: Path) -> None:
    (report,) = [it for it in commands("docs/sweeps.md") if it.arguments[0] == "report"]
    folder = tmp_path / report.arguments[1]
    for seed in (0, 1):
        write_cell(folder / f"{seed}", "standard", seed, [0.5, 0.8])
    asked = [argument if argument not in ("1000", "3000") else "100" for argument in report.arguments]
    assert "report.html" in execute(*asked, folder=tmp_path)
    assert (folder / "report.html").exists()


@pytest.mark.slow  # a server and an attack over the wire
def test_the_gate(tmp_path: Path) -> None:
    """The server, a person's question and an attack over the wire, with a small victim."""
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "image.png")
    module = ("-m", "commands")
    with served(*module, *SERVE.with_overrides(SMALL_DIGITS), "server.port=0", folder=tmp_path) as server:
        url = [argument.replace("http://127.0.0.1:8000", server.url) for argument in ASK.arguments]
        assert "paid with" in execute(*url, folder=tmp_path, TOLLGATE_KEY=server.key)
        there = f"oracle.url={server.url}"
        attack = ATTACK.with_overrides([*SMALL_DIGITS, there])
        printed = execute(*attack, folder=tmp_path, TOLLGATE_KEY=server.key)
        assert "knockoff on digits" in printed


def test_accounts(tmp_path: Path) -> None:
    printed = [execute(*command.arguments, folder=tmp_path) for command in ACCOUNTS]
    assert printed[0].startswith("tg_")
    assert len((tmp_path / "LEDGER").read_bytes()) > 0


def test_the_gate_in_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both blocks: a model of one's own behind the gate, asked by the client."""
    client, server = blocks("docs/gate.md", "python")
    apps: list[FastAPI] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: apps.append(app))
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
