"""How a cell's attacker answers the toll: its curve, its result, its keys, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiment.compose import compose_resolved
from experiment.keys import DataPrints, Identity
from experiment.pricing.bills import Billing, HonestWork
from experiment.pricing.curve import TraceAccounting, build_curve
from experiment.pricing.evading import cheapest
from extraction.checkpoint import RoundResult
from pow.calibration import LinearExpectation
from pow.calibration.paper import PaperCalibration
from pow.evasion.asking import cheapest_row
from pow.evasion.best_response import Evade, best_responses
from pow.hardware import Hardware
from pow.pricing import cheapest_hardware
from pow.puzzles import Argon2idPuzzle, PuzzleSettings, Sha256Puzzle
from storage.errors import InputError
from storage.store import identity_key
from support.commands import ROOT, run_program
from victims.defenses.pow import ProofOfWork

ROUNDS = [RoundResult(r, 30 * r, 0.1 * r, 0.2 * r, 1.5, 2.5) for r in (1, 2, 3)]
SHA256 = PuzzleSettings(Sha256Puzzle)
ACCOUNTING = TraceAccounting({})
PRINTS = DataPrints("train", "test", "pool")


def trace(alarms: bool = False) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"round": np.repeat([1, 2, 3], 30), "account": np.tile([0, 1], 45), "cost_pate": random.random(90)}
    )
    return rows.assign(alarm=np.arange(90) >= 40) if alarms else rows


def billing(account_seconds: float = 0.0, **options: Any) -> Billing:
    calibration = PaperCalibration(LinearExpectation(0.3, 1.0), base=1.5, floor=0.01, request_size=10)
    device = Hardware("fast", {"sha256": 1e6}, watts=360.0, usd_per_hour=7.2, source="invented")
    work = HonestWork(np.array([0.0, 90.0]), np.array([0.0, 2.0]), np.array([0.0, 2e4]))
    return Billing(
        ProofOfWork(account_seconds=account_seconds).bind(calibration, SHA256),
        device,
        device,
        work,
        **options,
    )


def curve(asked: pd.DataFrame, by: Billing | None) -> pd.DataFrame:
    return build_curve(ROUNDS, asked, ["pate"], ACCOUNTING, 0.64, by)


@pytest.mark.parametrize("evade", ["none", "pad", "split", "best"])
def test_a_curve_holds_the_response_and_the_best_one(evade: Evade) -> None:
    at_hand = pd.DataFrame({"cost_pate": [0.5, 0.0001]})
    by = billing(evade=evade, account_seconds=0.2, at_hand=at_hand)
    found, prices = curve(trace(), by), ACCOUNTING.prices(by, 0.64)
    assert (prices.column, prices.adds_up) == ("cost_pate", True)
    pad = cheapest_row("cost_pate", at_hand)
    own = best_responses(trace(), [30, 60, 90], prices, evade, pad)
    best = best_responses(trace(), [30, 60, 90], prices, "best", pad)
    rows: list[Any] = [*found.itertuples()]
    for row, mine, least in zip(rows, own, best, strict=True):
        assert row.pow_seconds == pytest.approx(mine.seconds)
        assert row.expected_hashes == pytest.approx(mine.expected_hashes)
        assert row.total_seconds == pytest.approx(0.01 * (row.queries + mine.pads) + mine.seconds)
        assert row.overhead == pytest.approx(row.total_seconds / row.query_seconds)
        assert row.attacker_usd == pytest.approx(mine.expected_hashes / 1e6 / 3600 * 7.2)
        assert row.cheapest_pow_seconds == pytest.approx(least.seconds)
        assert row.cheapest_usd == pytest.approx(least.expected_hashes / 1e6 / 3600 * 7.2)
        assert row.cheapest_pow_seconds <= row.pow_seconds * (1 + 1e-9)
        best_seconds = least.seconds + 0.01 * (row.queries + least.pads)
        assert row.cheapest_overhead == pytest.approx(best_seconds / row.query_seconds)
    last = cheapest(trace(), 90, by, prices)
    assert last["pow_seconds"] == pytest.approx(best[-1].seconds)
    assert last["usd"] == pytest.approx(found["cheapest_usd"].iloc[-1])
    assert (last["strategy"], last["pads"]) == (best[-1].strategy, best[-1].pads)
    assert cheapest(trace(), 0, by, prices)["usd"] == 0


def test_accounts_are_paid_for_in_the_round_that_they_first_ask_in() -> None:
    asked = trace()
    asked.loc[asked["round"] == 1, "account"] = 0
    free, dear = (curve(asked, billing(account_seconds=price)) for price in (0.0, 7.0))
    assert (dear["pow_seconds"] - free["pow_seconds"]).tolist() == pytest.approx([7, 14, 14])
    price = PaperCalibration(LinearExpectation(0.0, 0.0)).expected_hashes(np.array([7.0]))[0]
    more = dear["expected_hashes"] - free["expected_hashes"]
    assert more.tolist() == pytest.approx([price, 2 * price, 2 * price])


def test_without_a_toll_nothing_is_cheaper() -> None:
    free = curve(trace(), None)
    assert (free[["pow_seconds", "cheapest_pow_seconds", "cheapest_usd"]] == 0).all(axis=None)


def test_an_alarm_that_raises_the_toll_is_not_evaded() -> None:
    found = curve(trace(alarms=True), billing(surcharge=3.0, evade="best"))
    plain = curve(trace(alarms=True), billing(surcharge=3.0))
    assert found["pow_seconds"].iloc[-1] == pytest.approx(plain["pow_seconds"].iloc[-1])
    assert found["pow_seconds"].iloc[0] < plain["pow_seconds"].iloc[0] or (
        found["pow_seconds"] == pytest.approx(plain["pow_seconds"])
    )


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        chosen = ["pow_calibration=paper", *overrides]
        config: Any = OmegaConf.to_container(compose("config", chosen), resolve=True)
    return dict(config)


@pytest.mark.parametrize(
    "override",
    [
        "attack.evade=best",
        "attack.patience_days=3",
        "attack.hardware_choices=[h100]",
        "defense.pow.account_seconds=1",
    ],
)
def test_evading_changes_the_cells_key_and_not_the_extractions(override: str) -> None:
    plain, other = (Identity(composed(*overrides), PRINTS) for overrides in ([], [override]))
    assert identity_key(plain.extraction) == identity_key(other.extraction)
    assert plain.cell_key != other.cell_key
    assert not {"evade", "patience_days", "hardware_choices"} & set(plain.cell["pricing"]["attack"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("attack.evade=all", "attack.evade must be one of none, pad, split, best, not 'all'"),
        ("attack.patience_days=-1", "attack.patience_days must be a number of at least 0, not -1"),
        ("attack.patience_days=soon", "attack.patience_days must be a number of at least 0, not 'soon'"),
        ("attack.hardware_choices=h100", "attack.hardware_choices must be a list, each a word, not 'h100'"),
        ("attack.hardware_choices=[abacus]", "attack.hardware_choices must name h100, laptop_core"),
        (
            "defense.pow.account_seconds=-1",
            "defense.pow.account_seconds must be a number of at least 0, not -1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        compose_resolved(composed(override, f"paths.store={tmp_path}"), progress=False)
    assert said in str(error.value)


def test_who_evades_by_all_means_takes_the_cheapest_hardware(tmp_path: Path) -> None:
    choices = ["attack.hardware_choices=[laptop_core,rtx4090,phone]", f"paths.store={tmp_path}"]
    for evade, name in (("none", "laptop_core"), ("best", "rtx4090")):
        cell = compose_resolved(composed(f"attack.evade={evade}", *choices), progress=False)
        assert cell.toll is not None and cell.toll.pricing.attacker.name == name
    argon2 = PuzzleSettings(Argon2idPuzzle)
    assert cheapest_hardware(["h100", "laptop_core"], argon2).name == "laptop_core"
    with pytest.raises(ValueError, match="none of h100 has a hash rate for puzzle=argon2id"):
        cheapest_hardware(["h100"], argon2)


SMALL = [
    *(
        "attack=knockoff",
        "logger=none",
        "trainer=cpu",
        "victim.recipe.epochs=2",
        "substitute.recipe.epochs=2",
    ),
    *("privacy.measures.pate.teachers=10", "privacy.measures.pate.recipe.epochs=10", "attack.budget=200"),
    *(
        "dataset.transfer.steps=2",
        "pow_calibration=linear",
        "pow_calibration.sided=two",
        "defense.pow.account_seconds=0.01",
        "defense.pow.cost=entropy",
    ),
]


@pytest.mark.slow  # two whole cells
def test_a_cell_that_evades(tmp_path: Path) -> None:
    results, curves = {}, {}
    for evade in ("none", "best"):
        paths = [f"paths.store={tmp_path}/store", f"hydra.run.dir={tmp_path}/{evade}"]
        process = run_program("run.py", *SMALL, *paths, f"attack.evade={evade}")
        assert process.returncode == 0, process.stderr
        results[evade] = json.loads((tmp_path / evade / "result.json").read_text())
        curves[evade] = pd.read_csv(tmp_path / evade / "curve.csv")
    assert len([*(tmp_path / "store" / "extractions").iterdir()]) == 1
    assert results["none"]["cheapest"] == results["best"]["cheapest"]
    assert [results[evade]["evade"] for evade in results] == ["none", "best"]
    best, none = curves["best"], curves["none"]
    assert best["pow_seconds"].tolist() == best["cheapest_pow_seconds"].tolist()
    assert none["cheapest_pow_seconds"].tolist() == best["pow_seconds"].tolist()
    assert (best["pow_seconds"] < none["pow_seconds"]).all()
    for name, column in (("pow_seconds", "cheapest_pow_seconds"), ("usd", "cheapest_usd")):
        assert results["none"]["cheapest"][name] == pytest.approx(none[column].iloc[-1])


def test_costs_that_compose_are_said_not_to_add_up() -> None:
    from privacy.accountant import Accounting

    how = {"pate": Accounting(10.0, 1e-5, "composed"), "pknn": Accounting(10.0, 1e-5)}
    accounting = replace(ACCOUNTING, by_measure=how)
    assert [accounting.adds_up(name) for name in ("pate", "pknn", "gap")] == [False, True, True]
