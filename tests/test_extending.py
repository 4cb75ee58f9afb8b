"""One of each kind from a folder outside the project, in a grid: in config, grid, result, table and page."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from support.commands import ROOT, run_program
from sweeps import report

MODULE = '''
"""An attack, a defense, a data set, a measure, a calibration and a puzzle of one's own."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from extraction.attacks.base import QueryAttack, pool_images
from pow.calibration import LineCalibration
from pow.puzzles import Puzzle
from victims.datasets import digits
from victims.defenses.base import Perturbation
from victims.measures.base import Measure

import torch


class LastFirst(QueryAttack):
    """Asks about the pool from its end."""

    def queries(self, attacker, count):
        asked = len(attacker.transfer_set)
        last = len(attacker.pool) - asked
        return pool_images(attacker, attacker.pool, torch.arange(last - count, last))


class Flattened(Perturbation):
    """Moves answers towards equal probabilities."""

    def __init__(self, share):
        self.share = share

    def bind(self, victim):
        return lambda images, y, first: (1 - self.share) * y + self.share / y.shape[1]


def load(image_size):
    return {"train": digits.load(image_size)["train"]}


class Brightness(Measure):
    """The mean pixel."""

    label = "brightness"
    format = ".2f"

    def __init__(self, victim):
        pass

    def columns(self, images, log_probs):
        return {"cost": images.double().flatten(1).mean(1)}


@dataclass(frozen=True)
class SquareCalibration(LineCalibration):
    """Seconds by the square of the deviation."""

    name: ClassVar[str] = "square"

    def schedule(self, deviation):
        return deviation**2


@dataclass(frozen=True)
class Sha512Puzzle(Puzzle):
    """SHA-512 below a target."""

    kind: ClassVar[str] = "sha512"
    digest_bits: ClassVar[int] = 512

    def search(self, part, start, count):
        for nonce in range(start, start + count):
            digest = hashlib.sha512(self.seed(part) + nonce.to_bytes(8, "big")).digest()
            if digest <= self.largest:
                return nonce
        return None
'''

FILES = {
    "attack/last_first": "defaults: [standard]\nname: last_first\nrule: {_target_: of_ones_own.LastFirst}",
    "defense/flattened": "# @package defense.flattened\n_target_: of_ones_own.Flattened\nshare: 0.5",
    "dataset/own_digits": "defaults: [digits]\nname: own_digits\nsource: {_target_: of_ones_own.load}",
    "privacy/measure/brightness": "_target_: of_ones_own.Brightness",
    "pow_calibration/square": "defaults: [_reference, _line]\n_target_: of_ones_own.SquareCalibration",
    "puzzle/sha512": "defaults: [_base]\nkind: of_ones_own.Sha512Puzzle",
    "hardware/own_core": "defaults: [_base]\nname: own_core\nhashes_per_second: {sha512: 1e6}\n"
    "watts: 1\nusd_per_hour: 0.1\nsource: invented",
}

GRID = [
    *("attack=standard,last_first", "defense=pow,[flattened,pow]", "dataset=own_digits"),
    *("+privacy/measure@privacy.measures.brightness=brightness", "defense.pow.cost=brightness"),
    *("~privacy.measures.pate", "~privacy.measures.pknn", "pow_calibration=square", "puzzle=sha512"),
    *("hardware=own_core", "hardware@honest_hardware=own_core", "hardware@reference_client=own_core"),
]
SMALL = [
    *("logger=none", "trainer=cpu", "victim.recipe.epochs=2", "substitute.recipe.epochs=1"),
    *("attack.budget=40", "attack.round_size=20", "dataset.transfer.steps=1"),
]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "of_ones_own.py").write_text(MODULE)
    for name, text in FILES.items():
        path = folder / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    paths = [f"paths.store={folder}/store", f"hydra.sweep.dir={folder}/sweep"]
    process = run_program(
        *("run.py", "-m", "--config-dir", str(folder / "conf"), *GRID, *SMALL, *paths),
        PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)]),
    )
    assert process.returncode == 0, process.stderr
    return folder / "sweep"


@pytest.fixture(scope="module")
def cell(sweep: Path) -> Path:
    """The grid's cell with one's own attack and defense."""
    return next(sweep.glob("own_digits_last_first_flattened+pow_x1_*"))


def test_the_grid_has_all_its_cells(sweep: Path) -> None:
    names = {path.parent.name.split("_x1_")[0] for path in sweep.glob("*/result.json")}
    assert names == {
        f"own_digits_{attack}_{defense}"
        for attack in ("standard", "last_first")
        for defense in ("pow", "flattened+pow")
    }


def test_the_config_names_each(cell: Path) -> None:
    config = yaml.safe_load((cell / "config.yaml").read_text())
    assert config["attack"]["rule"]["_target_"] == "of_ones_own.LastFirst"
    assert config["defense"]["flattened"] == {"_target_": "of_ones_own.Flattened", "share": 0.5}
    assert config["dataset"]["name"] == "own_digits"
    assert config["privacy"]["measures"]["brightness"] == {"_target_": "of_ones_own.Brightness"}
    assert config["pow_calibration"]["_target_"] == "of_ones_own.SquareCalibration"
    assert config["puzzle"]["kind"] == "of_ones_own.Sha512Puzzle"


def test_the_result_tells_of_each(sweep: Path, cell: Path) -> None:
    result = json.loads((cell / "result.json").read_text())
    told = {
        name: result[name] for name in ("attack", "defense", "dataset", "calibration", "puzzle", "hardware")
    }
    assert told == {
        "attack": "last_first",
        "defense": "flattened+pow",
        "dataset": "own_digits",
        "calibration": "square",
        "puzzle": "sha512",
        "hardware": "own_core",
    }
    assert result["measures"]["brightness"] == {"label": "brightness", "format": ".2f"}
    assert result["final"]["cost_brightness"] > 0 and result["final"]["pow_seconds"] > 0
    assert result["honest"]["l1"] > 0, "the defense changes answers"
    curves = [pd.read_csv(path) for path in sorted(sweep.glob("*_flattened+pow_*/curve.csv"))]
    assert curves[0]["cost_brightness"].tolist() != curves[1]["cost_brightness"].tolist(), "attacks differ"


def test_tables_and_the_page_show_each(sweep: Path, tmp_path: Path) -> None:
    report.write_report(report.load([sweep]), tmp_path)
    shown = ("last_first", "flattened+pow square sha512", "own_digits", "brightness")
    for file in ("table.md", "report.html"):
        text = (tmp_path / file).read_text()
        assert [name for name in shown if name not in text] == [], file
    assert r"last\_first" in (tmp_path / "table.tex").read_text()
    head, _, *rows = (tmp_path / "table.md").read_text().splitlines()
    place = [name.strip() for name in head.split("|")].index("brightness")
    assert all(re.fullmatch(r"\d+\.\d\d", row.split("|")[place].strip()) for row in rows)
    assert (tmp_path / "accuracy_own_digits.png").exists()
