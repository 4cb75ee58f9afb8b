"""What runs are called: names that people read, ids that do not depend on folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiment.compose import compose_cell
from experiment.tracking.figures import metric, price_summary, summary_of
from experiment.tracking.labels import labels_of, run_id, run_name
from storage.conf import CONF
from support.tracking.tracked import LABELS, RESULT
from sweeps.grid.compose import hydra_loader, master_config


def labels(tmp_path: Path, *overrides: str) -> dict[str, Any]:
    with hydra_loader(CONF) as loader:
        config = master_config(loader, [*overrides, "logger=none", f"paths.store={tmp_path}"])
        plain = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
        return labels_of(compose_cell(plain, progress=False))


def test_a_cell_with_a_toll_says_all_of_it(tmp_path: Path) -> None:
    found = labels(
        tmp_path,
        *("attack=knockoff", "attack.accounts=5", "pow_calibration=linear", "pow_calibration.strength=4"),
        *("puzzle=argon2id", "hardware=rtx4090", "seed=1"),
    )
    assert found.pop("cell")
    assert found == {
        "attack": "knockoff",
        "dataset": "digits",
        "defense": "pow",
        "calibration": "linear",
        "strength": 4.0,
        "puzzle": "argon2id",
        "hardware": "rtx4090",
        "accounts": 5,
        "seed": 1,
    }
    assert run_name(found) == "knockoff digits pow x4 linear argon2id rtx4090 5 accounts s1"


def test_a_cell_without_a_toll_leaves_its_words_empty(tmp_path: Path) -> None:
    found = labels(tmp_path, "attack=standard", "defense=rounding", "pow_calibration.strength=4")
    assert {name for name, value in found.items() if value in ("", None)} == {
        *("calibration", "strength", "puzzle", "hardware")
    }
    assert run_name(found) == "standard digits rounding s0"


def test_usual_prices_are_not_named() -> None:
    assert run_name(LABELS | {"strength": 4.0, "seed": 1}) == "knockoff digits pow x4 s1"
    assert run_name(LABELS | {"strength": 0.25}) == "knockoff digits pow x0.25 s0"


def test_ids_are_of_keys_alone() -> None:
    assert run_id("a") == run_id("a") != run_id("b")
    assert run_id("a").isalnum()


@pytest.mark.parametrize(("dataset", "name"), [("mnist", "mnist"), ("my/own.set", "my_own_set")])
def test_metrics_begin_with_their_data_set(dataset: str, name: str) -> None:
    assert metric(dataset, "seconds", "accuracy") == f"{name}/by_seconds/accuracy"


def test_a_cell_without_a_toll_has_no_price_over_honest_users() -> None:
    bill = {"reached": True, "pow_seconds": 0.0}
    figures = price_summary(
        {"honest_bill": None, "cheapest": None, "price_to_reach": {"accuracy": {"80": bill}}}
    )
    assert figures == {"price/accuracy_80/reached": True, "price/accuracy_80/pow_seconds": 0.0}
    assert price_summary({}) == {}


def test_an_attacker_who_is_not_watched_has_no_alarm() -> None:
    assert summary_of(RESULT)["alarm/queries"] == 250
    unwatched = RESULT | {"honest": {"accuracy": 0.9, "false_alarms": None}, "queries_until_alarm": None}
    assert not [name for name in summary_of(unwatched) if name.startswith("alarm")]
    assert summary_of(RESULT | {"queries_until_alarm": None})["alarm/raised"] is False
