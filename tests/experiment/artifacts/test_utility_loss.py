"""What honest users lose by defenses: each figure against a loop, and in cells of digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from experiment.artifacts.losses import WATCHED_USERS, answer_losses, defended, watch_losses
from experiment.cell import run_cell
from support.defended import answers
from support.defended_cells import composed
from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.tables import markdown
from victims.defenses.base import AtAlarm, Watching
from victims.types import Answer, QueryBatch


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Guo et al. 2017, equation 3, answer by answer."""
    members: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(probabilities, truth, strict=True):
        confidence = row.max()
        members.setdefault(int(confidence * bins), []).append((confidence, row.argmax() == label))
    gaps = [
        abs(sum(right for _, right in answers) - sum(confidence for confidence, _ in answers))
        for answers in members.values()
    ]
    return float(sum(gaps) / len(truth))


def test_losses_of_changed_answers_are_those_of_a_loop() -> None:
    own, changed = answers(400, seed=1), answers(400, seed=2)
    truth = torch.randint(0, 10, (400,), generator=torch.Generator().manual_seed(3))
    losses = answer_losses(own, changed, truth)
    rows = list(zip(own.double().tolist(), changed.double().tolist(), truth.tolist(), strict=True))
    distances = [sum(abs(a - b) for a, b in zip(old, new, strict=True)) for old, new, _ in rows]
    assert losses["l1"] == pytest.approx(sum(distances) / 400)
    assert losses["accuracy"] == sum(new.index(max(new)) == label for _, new, label in rows) / 400
    assert losses["accuracy_undefended"] == sum(old.index(max(old)) == label for old, _, label in rows) / 400
    for name, probabilities in (("calibration_error", changed), ("calibration_error_undefended", own)):
        expected = calibration_error(probabilities.double().numpy(), truth.numpy())
        assert losses[name] == pytest.approx(expected, abs=1e-5)


def test_a_label_is_as_far_off_as_the_probability_that_it_hides() -> None:
    own = torch.tensor([[0.7, 0.2, 0.1]])
    assert answer_losses(own, torch.tensor([[1.0, 0, 0]]), torch.tensor([0]))["l1"] == pytest.approx(0.6)


def test_defenses_hear_how_many_were_answered_before() -> None:
    def counted(images: Tensor, probabilities: Tensor, first: int) -> Tensor:
        return probabilities + first

    changed = defended([counted], torch.zeros(5, 1, 2, 2), torch.zeros(5, 3), batch_size=2)
    assert changed[:, 0].tolist() == [0, 0, 2, 2, 4]


class AfterThree(Watching):
    """Watches: an alarm from an account's third query to its fifth, if its first had the brightest image.

    It keeps what each account asked about.
    """

    surcharge = 1.0

    def __init__(self, at_alarm: AtAlarm, images: int) -> None:
        self.at_alarm, self.images = at_alarm, images
        self.asked: list[list[int]] = []

    def watch(self) -> AfterThree:
        return self

    def is_blocked(self, account: int) -> bool:
        return False

    def observe(self, batch: QueryBatch, answer: Answer) -> pd.DataFrame:
        brightness = batch.images.flatten(1).mean(1)
        self.asked.append(brightness.int().tolist())
        assert torch.equal(answer.values[:, 0], brightness), "each image with its own answer"
        number = np.arange(len(batch))
        alarm = (number >= 2) & (number < 5) & (float(brightness[0]) == self.images - 1)
        is_blocked = self.at_alarm == "block" and alarm.any()
        return pd.DataFrame({"alarm": alarm})[: 3 if is_blocked else len(alarm)]


def watched(at_alarm: AtAlarm, images: int, queries: int) -> tuple[dict[str, Any], list[list[int]]]:
    shown = torch.arange(float(images))[:, None].expand(images, 3)
    pictures = shown[:, :1, None, None].expand(images, 1, 2, 2)
    watch = AfterThree(at_alarm, images)
    losses = watch_losses(watch, pictures, shown, queries, torch.Generator().manual_seed(0))
    return losses, watch.asked


@pytest.mark.parametrize("at_alarm", ["report", "block"])
@pytest.mark.parametrize(("queries", "asked"), [(5, 5), (40, 10)])
def test_losses_by_a_watch(at_alarm: AtAlarm, queries: int, asked: int) -> None:
    losses, queried = watched(at_alarm, 10, queries)
    assert {len(each) for each in queried} == {asked} and len(queried) == WATCHED_USERS
    alarms = sum(each[0] == 9 for each in queried)
    assert losses["false_alarms"] == alarms / WATCHED_USERS and alarms > 0
    assert losses["false_alarms_once"] == sum(each[0] == 9 for each in queried[::2]) / 100
    assert losses["false_alarms_repeating"] == sum(each[0] == 9 for each in queried[1::2]) / 100
    assert losses["false_alarms_after"] == [3] * alarms
    goes = at_alarm == "report" and asked > 5
    assert losses["false_alarms_until"] == [6] * (alarms if goes else 0)
    cut = (asked - 3) / asked if at_alarm == "block" else 0.0
    assert losses["refused"] == pytest.approx(alarms / WATCHED_USERS * cut, abs=1e-12)


def test_every_other_user_repeats_images_and_no_two_samples_share_any() -> None:
    losses, queried = watched("report", 100, 30)
    assert all(len(set(each)) == 30 for each in queried[::2]), "no image twice"
    assert all(len(set(each)) < 30 for each in queried[1::2]), "drawn with repetition"
    assert losses["false_alarms_samples"] == 3
    first = [set(each) for each in queried[:6]]
    for number, own in enumerate(first):
        assert all(own.isdisjoint(other) for other in first[number + 2 - number % 2 :])
    assert all(set(each) <= {*range(100)} - first[2] - first[4] for each in queried[::6]), "the same again"


@pytest.mark.parametrize(
    ("images", "samples", "high"), [(10, 1, 0.975), (400, 40, 0.0881), (4000, 100, 0.0362)]
)
def test_an_interval_is_that_of_users_with_images_of_their_own(
    images: int, samples: int, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published upper ends of Clopper and Pearson for none of so many."""
    monkeypatch.setattr(
        AfterThree, "observe", lambda self, batch, answer: pd.DataFrame({"alarm": [False] * 10})
    )
    losses, _ = watched("report", images, 10)
    assert (losses["false_alarms"], losses["false_alarms_samples"]) == (0, samples)
    assert (losses["false_alarms_low"], losses["false_alarms_high"]) == pytest.approx((0, high), abs=1e-4)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def honest(store: Path, output: Path, *overrides: str) -> dict[str, Any]:
    run_cell(composed(store, *overrides), output)
    result: dict[str, Any] = json.loads((output / "result.json").read_text())
    return result["honest"] | {"victim": result["victim_accuracy"]}


@pytest.mark.parametrize("defense", ["none", "pow", "label_only", "top_k", "mad", "modelguard_w"])
def test_who_keeps_the_label_keeps_the_victims_accuracy(store: Path, tmp_path: Path, defense: str) -> None:
    losses = honest(store, tmp_path, f"defense={defense}")
    assert losses["accuracy"] == losses["accuracy_undefended"] == losses["victim"]
    assert losses["false_alarms"] is None and losses["refused"] == 0
    assert (losses["l1"] > 1e-4) == (defense not in ("none", "pow"))
    if losses["l1"] == 0:
        assert losses["calibration_error"] == losses["calibration_error_undefended"]


def test_noise_costs_an_honest_user_accuracy(store: Path, tmp_path: Path) -> None:
    losses = honest(store, tmp_path, "defense=gaussian_noise", "defense.gaussian_noise.sigma=0.5")
    assert losses["accuracy"] < losses["accuracy_undefended"] - 0.05


def test_losses_are_measured_once_for_a_stack(store: Path, tmp_path: Path) -> None:
    """Prices and attacks do not matter; whether an alarm blocks does."""
    kept = store / "utility_loss"

    def entries(*overrides: str) -> int:
        honest(store, tmp_path / str(len(list(tmp_path.iterdir()))), *overrides)
        return len(list(kept.glob("*/DONE")))

    watch = [
        "defense=[prada,pow]",
        "defense.prada.delta=1",
        "defense.prada.minimum=25",
        "defense.prada.every=1",
    ]
    before = entries("defense=none")
    assert entries("defense=pow", "attack=standard", "pow_calibration.strength=3") == before
    assert entries(*watch) == before + 1
    assert entries(*watch, "defense.prada.at_alarm=charge", "defense.prada.surcharge=7") == before + 1
    assert entries(*watch, "defense.prada.at_alarm=block") == before + 2
    reported, blocked = (
        json.loads((tmp_path / name / "result.json").read_text())["honest"] for name in ("2", "4")
    )
    assert reported["false_alarms"] == blocked["false_alarms"] == 1, "W is below 1"
    assert len(reported["false_alarms_after"]) == WATCHED_USERS
    assert (reported["refused"], blocked["refused"] > 0.4) == (0, True)


LOSSES = {"accuracy": 0.97, "l1": 0.25, "calibration_error": 0.1, "false_alarms": None, "refused": 0.0}


def test_losses_are_in_the_frames_and_in_the_tables(tmp_path: Path) -> None:
    write_cell(tmp_path / "0", "standard", 0, [0.5], honest=LOSSES | {"accuracy": 0.98, "l1": 0.0})
    sweep = report.load([tmp_path])
    assert "L1" not in markdown(report.table(sweep), sweep), "nothing changes answers"
    for seed in (0, 1):
        write_cell(tmp_path / f"1_{seed}", "standard", seed, [0.5], defense="rounding+pow", honest=LOSSES)
    write_cell(tmp_path / "2", "standard", 0, [0.5], defense="of an early version")
    sweep = report.load([tmp_path])
    assert sweep.cells.sort_values("path")["honest_l1"].tolist() == pytest.approx(
        [0, 0.25, 0.25, np.nan], nan_ok=True
    )
    assert "honest_false_alarms" not in sweep.cells, "no cell has any"
    table = report.finals(sweep).set_index("defense")
    assert table.loc["rounding+pow", "honest_accuracy"] == pytest.approx(0.97)
    assert table.loc["pow", "honest_refused"] == 0
    text = markdown(report.table(sweep), sweep)
    assert "honest's accuracy % | honest's L1" in text
    assert "| 97.00 | 0.25 |" in text
