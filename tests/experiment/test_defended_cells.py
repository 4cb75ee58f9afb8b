"""Every defense in a cell of digits, end to end, and what each leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiment.cell import run_cell
from support.defended_cells import composed
from support.options import options
from victims.oracle import VictimOracle
from victims.types import Answer, QueryBatch

DEFENSES = options("defense")
STACKS = ["[rounding,pow]", "[mad,rounding,pow]", "[gaussian_noise,top_k]"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def result_of(directory: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return result


@pytest.mark.parametrize("choice", [*DEFENSES, *STACKS])
def test_a_cell_with_each_defense_leaves_its_curve(store: Path, tmp_path: Path, choice: str) -> None:
    run_cell(composed(store, f"defense={choice}"), tmp_path)
    result, curve = result_of(tmp_path), pd.read_csv(tmp_path / "curve.csv")
    assert result["defense"] == choice.strip("[]").replace(",", "+")
    assert curve["queries"].tolist() == [30, 60]
    assert (curve["pow_seconds"] > 0).all() == ("pow" in choice)


def test_what_is_trained_for_a_defense_is_trained_once(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for number, threshold in enumerate((0.5, 0.95)):
        choice = ["defense=adaptive_misinformation", f"defense.adaptive_misinformation.threshold={threshold}"]
        run_cell(composed(store, *choice), tmp_path / str(number))
    assert len(list((store / "auxiliary").glob("*/DONE"))) == 1


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


PRADA = ["defense.prada.delta=1", "defense.prada.minimum=25", "defense.prada.every=1"]
"""Of the distances, the 25th raises the alarm: W is below one."""


def test_an_alarm_is_reported_charged_or_ends_the_curve(store: Path, tmp_path: Path) -> None:
    charged = ["defense.prada.at_alarm=charge", "defense.prada.surcharge=7"]
    cells = {
        "free": ["defense=pow"],
        "reported": ["defense=[prada,pow]", *PRADA],
        "charged": ["defense=[prada,pow]", *PRADA, *charged],
        "blocked": ["defense=[prada,pow]", *PRADA, "defense.prada.at_alarm=block"],
    }
    for name, choice in cells.items():
        run_cell(composed(store, *choice), tmp_path / name)
    results = {name: result_of(tmp_path / name) for name in cells}
    curves = {name: pd.read_csv(tmp_path / name / "curve.csv") for name in cells}
    trace = pd.read_parquet(tmp_path / "reported" / "trace.parquet")
    alarm = int(trace["alarm"].argmax()) + 1
    assert trace["prada_distance"][:alarm].notna().sum() == 25
    assert results["free"]["queries_until_alarm"] is None
    for name in ("reported", "charged", "blocked"):
        assert results[name]["queries_until_alarm"] == alarm
    keys = {name: result["keys"]["extraction"] for name, result in results.items()}
    assert keys["reported"] == keys["charged"] and len(set(keys.values())) == 3
    assert curves["reported"]["pow_seconds"].tolist() == curves["free"]["pow_seconds"].tolist()
    assert 30 < alarm <= 60, "in the second round"
    first, last = curves["free"]["pow_seconds"]
    assert curves["charged"]["pow_seconds"].tolist() == pytest.approx([first, first + 7 * (last - first)])
    assert results["charged"]["honest"]["false_alarms"] == 1
    own = curves["free"]["honest_pow_seconds"].to_numpy()
    assert curves["reported"]["honest_pow_seconds"].to_numpy() == pytest.approx(own)
    charged_own = curves["charged"]["honest_pow_seconds"].to_numpy()
    raised = [own[0], own[0] + 7 * (own[1] - own[0])]
    assert charged_own == pytest.approx(raised), "they ask as the attacker does, and have the alarm as it has"
    assert curves["blocked"]["queries"].tolist() == [30, alarm]
    assert len(pd.read_parquet(tmp_path / "blocked" / "trace.parquet")) == alarm


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("killed_at", [pytest.param(2, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize(
    "choice",
    [
        pytest.param("[gaussian_noise,prada]", marks=pytest.mark.slow),
        pytest.param("[prada,pow]", marks=pytest.mark.slow),
        "[queen,prada]",
    ],
)
def test_a_killed_extraction_with_a_watch_ends_in_the_same_trace(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str, killed_at: int
) -> None:
    """Two accounts ask once a round: the kill falls between rounds, or within one."""
    options = [f"defense={choice}", *PRADA, "attack.accounts=2", f"seed={killed_at}", "victim.seed=0"]
    if "noise" in choice:
        options.append("defense.gaussian_noise.noise=fresh")
    if "queen" in choice:
        options.append("defense.queen.threshold=0.001")
    ask, asked = VictimOracle.query, 0

    def counted(self: VictimOracle, batch: QueryBatch) -> Answer:
        nonlocal asked
        if asked == killed_at - 1:
            asked += 1
            raise KilledError
        asked += 1
        return ask(self, batch)

    monkeypatch.setattr(VictimOracle, "query", counted)
    other = tmp_path / "other"
    shutil.copytree(store, other, dirs_exist_ok=True)
    with pytest.raises(KilledError):
        run_cell(composed(other, *options), tmp_path / "cut")
    run_cell(composed(other, *options), tmp_path / "cut")
    assert asked == 5, "four shares, and the one that was killed"
    monkeypatch.undo()
    run_cell(composed(store, *options), tmp_path / "whole")
    whole, cut = (tmp_path / name for name in ("whole", "cut"))
    expected, found = (pd.read_parquet(path / "trace.parquet") for path in (whole, cut))
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    curves = [pd.read_csv(path / "curve.csv") for path in (whole, cut)]
    counted_columns = [name for name in curves[0] if not str(name).startswith("measured_")]
    pd.testing.assert_frame_equal(curves[0][counted_columns], curves[1][counted_columns], check_exact=True)


@pytest.mark.parametrize(
    "options",
    [
        ["attack.repeats=3", "attack.recover=denoise", "defense.gaussian_noise.noise=fresh"],
        ["attack.recover=bayes", "attack.knows=[defense]"],
        ["attack.recover=ddae", "attack.knows=[defense]"],
    ],
    ids=["denoise", "bayes", "ddae"],
)
def test_attackers_answer_back_in_a_cell(store: Path, tmp_path: Path, options: list[str]) -> None:
    run_cell(composed(store, "defense=gaussian_noise", *options), tmp_path)
    curve, trace = pd.read_csv(tmp_path / "curve.csv"), pd.read_parquet(tmp_path / "trace.parquet")
    assert curve["queries"].tolist() == [30, 60] and len(trace) == 60
    repeated = trace["cost_entropy"].to_numpy().reshape(-1, 3 if "denoise" in options[1] else 1)
    assert (repeated == repeated[:, :1]).all()
