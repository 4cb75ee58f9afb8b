"""Every defence in a cell of digits, end to end, and what each leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from sweeps import naming
from sweeps.cell import run_cell

SMALL = [
    *("logger=none", "trainer=cpu", "victim.recipe.epochs=3", "substitute.recipe.epochs=2"),
    *("~privacy.measures.pate", "~privacy.measures.pknn", "pow_calibration=constant"),
    *("attack=knockoff", "attack.budget=60", "attack.round_size=30"),
]
DEFENSES = sorted(path.stem for path in (ROOT / "conf" / "defense").glob("*.yaml"))
STACKS = ["[rounding,pow]", "[mad,rounding,pow]", "[gaussian_noise,top_k]"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def composed(store: Path, *overrides: str) -> DictConfig:
    naming.register()
    toll = ["defense.pow.cost=gap"] if any("pow" in override.split("=")[1] for override in overrides) else []
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", [*SMALL, f"paths.store={store}", *overrides, *toll])


def result_of(directory: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return result


@pytest.mark.parametrize("choice", [*DEFENSES, *STACKS])
def test_a_cell_with_each_defence_leaves_its_curve(store: Path, tmp_path: Path, choice: str) -> None:
    run_cell(composed(store, f"defense={choice}"), tmp_path)
    result, curve = result_of(tmp_path), pd.read_csv(tmp_path / "curve.csv")
    assert result["defense"] == choice.strip("[]").replace(",", "+")
    assert curve["queries"].tolist() == [30, 60]
    assert (curve["pow_seconds"] > 0).all() == ("pow" in choice)


def test_what_is_trained_for_a_defence_is_trained_once(store: Path, tmp_path: Path) -> None:
    for number, threshold in enumerate((0.5, 0.95)):
        choice = ["defense=adaptive_misinformation", f"defense.adaptive_misinformation.threshold={threshold}"]
        run_cell(composed(store, *choice), tmp_path / str(number))
    assert len(list((store / "misinformers").glob("*/DONE"))) == 1


def test_what_changes_no_answer_within_float32_steals_the_same(store: Path, tmp_path: Path) -> None:
    run_cell(composed(store, "defense=none"), tmp_path / "none")
    run_cell(composed(store, "defense=mad", "defense.mad.epsilon=0"), tmp_path / "mad")
    curves = [pd.read_csv(tmp_path / name / "curve.csv") for name in ("none", "mad")]
    for column in ("accuracy", "fidelity", "cost_gap", "cost_entropy"):
        assert curves[0][column].tolist() == curves[1][column].tolist()


def test_answers_are_changed_and_the_meter_measures_the_victims_own(store: Path, tmp_path: Path) -> None:
    traces = []
    for choice in ("none", "label_only"):
        run_cell(composed(store, f"defense={choice}"), tmp_path / choice)
        traces.append(pd.read_parquet(tmp_path / choice / "trace.parquet"))
    first = [trace[trace["round"] == 1] for trace in traces]
    assert first[0]["cost_entropy"].tolist() == first[1]["cost_entropy"].tolist()
    assert (first[1]["cost_entropy"] > 0).all(), "a label alone has no entropy"
