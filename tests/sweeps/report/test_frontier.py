"""Defenses compared: what each costs an honest user, and what the attacker still gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.pictures.frontier_plot import CAPTION, plot_frontier
from sweeps.report.pictures.looks import looks_of
from sweeps.report.sampling.pairs import told_apart
from sweeps.report.setups import frontier
from sweeps.report.tables import readable

KEPT: dict[str, Any] = {
    "accuracy": 0.98,
    "l1": 0.0,
    "calibration_error": 0.01,
    "false_alarms": None,
    "refused": 0.0,
}
NO_TOLL: dict[str, Any] = {"calibration": None, "strength": None, "honest_overhead": 1.0, "overhead": 1.0}


def write(folder: Path, defense: str, seed: int, accuracy: float, more: dict[str, Any], **loss: Any) -> None:
    path = folder / f"{len(list(folder.iterdir()))}"
    write_cell(path, "knockoff", seed, [0.5, accuracy], defense=defense, honest=KEPT | loss, **more)


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    folder.mkdir()
    write(folder, "none", 0, 0.95, NO_TOLL)
    for strength, overhead in ((4.0, 1.4), (1.0, 1.1)):
        write(folder, "pow", 0, 0.95, {"strength": strength, "honest_overhead": overhead})
    for seed, accuracy in enumerate((0.88, 0.92)):
        write(folder, "rounding", seed, accuracy, NO_TOLL, l1=0.2)
    write(folder, "mad", 0, 0.92, NO_TOLL, l1=1.0)
    write(folder, "prada", 0, 0.7, NO_TOLL, false_alarms=0.5, refused=0.25)
    write(folder, "mad+pow", 0, 0.6, {"honest_overhead": 1.1}, l1=1.0)
    return folder


def test_losses_of_each_defense(compared: Path) -> None:
    rows = frontier(report.load([compared])).set_index("defense")
    assert rows["answers_lost"].to_dict() == pytest.approx(
        {"none": 0, "pow x4": 0, "pow": 0, "rounding": 0.1, "mad": 0.5, "prada": 0.25, "mad+pow": 0.5}
    )
    assert rows.loc["pow x4", "time_lost"] == pytest.approx(0.4)
    assert rows.loc["rounding", "accuracy"] == pytest.approx(0.9)
    assert rows.loc["rounding", "time_lost"] == 0


def test_the_table_says_who_raised_the_alarm_and_when(tmp_path: Path) -> None:
    """At the mean of those who did; who is not watched raised none and was not spared one either."""
    for seed, queries in enumerate((150, 50, None)):
        write(tmp_path, "prada", seed, 0.7, NO_TOLL, false_alarms=0.5, refused=0.25)
        path = tmp_path / str(seed) / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"queries_until_alarm": queries}))
    write(tmp_path, "mad", 0, 0.92, NO_TOLL, l1=1.0)
    table = report.table(report.load([tmp_path]))
    rows = table.set_index("defense")
    assert rows.loc["prada", "alarm"] == pytest.approx(2 / 3)
    assert rows.loc["prada", "queries_until_alarm"] == 100
    assert rows.loc["mad", ["alarm", "queries_until_alarm"]].isna().all()
    text = readable(table, report.load([tmp_path])).set_index("defense")
    assert text["refused %"]["prada"] == "25.0" and text["false alarms %"]["prada"] == "50.0"
    assert text["honest's ECE %"]["prada"] == "1.00"
    assert text["alarms %"].str[:2].to_dict() == {"prada": "67", "mad": ""}


def test_who_is_undominated(compared: Path) -> None:
    """`mad` leaves the attacker more than `rounding`, at more; proof of work takes time and no accuracy."""
    rows = frontier(report.load([compared])).set_index("defense")
    assert set(rows.index[rows["is_undominated"]]) == {"none", "rounding", "prada", "mad+pow"}
    figures = rows[["accuracy", "answers_lost", "time_lost"]].to_numpy().tolist()
    for own, is_undominated in zip(figures, rows["is_undominated"], strict=True):
        beaten = [
            other != own and all(theirs <= mine for theirs, mine in zip(other, own, strict=True))
            for other in figures
        ]
        assert is_undominated != any(beaten)


@pytest.mark.parametrize(("lost", "is_ringed"), [(2, False), (40, True)])
def test_what_chance_takes_is_no_merit(lost: int, is_ringed: bool, tmp_path: Path) -> None:
    """Two of 400 test images are within the interval of the paired difference from `none`, 40 are not."""
    random = np.random.default_rng(0)
    for seed in range(3):
        free = random.random(400) < 0.9
        changed = free.copy()
        changed[np.flatnonzero(free)[:lost]] = False
        for name, right, l1 in (("none", free, 0.0), ("rounding", changed, 0.2)):
            told: dict[str, Any] = NO_TOLL | {"defense": name, "honest": KEPT | {"l1": l1}}
            path = tmp_path / f"{name}{seed}"
            write_cell(path, "knockoff", seed, [float(right.mean())], right=right[None], **told)
    rows = frontier(report.load([tmp_path])).set_index("defense")
    assert rows["is_undominated"].to_dict() == {"none": True, "rounding": is_ringed}
    accuracies = rows["accuracy"].to_dict()
    assert accuracies["rounding"] < accuracies["none"], "in the means either way"


@pytest.mark.parametrize("seeds", [1, 3])
def test_models_are_told_apart_where_they_differ(seeds: int) -> None:
    """In 200 experiments each: seldom where there is no difference, mostly where there is one."""
    random = np.random.default_rng(seeds)

    def model(ease: np.ndarray, shift: float) -> pd.DataFrame:
        right = random.random((seeds, 500)) < 1 / (
            1 + np.exp(-(ease + random.normal(shift, 0.1, (seeds, 1))))
        )
        bits = [np.packbits(row).tobytes() for row in right]
        told = {"seed": range(seeds), "accuracy": right.mean(1), "right": bits, "images": 500}
        return pd.DataFrame(told)

    def signs(shift: float) -> np.ndarray:
        eases = random.normal(3, 3, (200, 500))
        return np.array([told_apart(model(ease, shift), model(ease, 0.0))[0] for ease in eases])

    assert np.abs(signs(0.0)).mean() <= 0.1
    assert (signs(2.5) == 1).mean() > 0.9


def test_few_seeds_do_not_make_a_defense_that_takes_much_a_useless_one(tmp_path: Path) -> None:
    """It takes 35 points, which two seeds that differ by ten cannot tell from nothing; test images can."""
    random = np.random.default_rng(0)
    for seed, (free, defended) in enumerate([(0.90, 0.60), (0.92, 0.50)]):
        for name, share, l1 in (("none", free, 0.0), ("rounding", defended, 1e-7)):
            right = random.random(400) < share
            told: dict[str, Any] = NO_TOLL | {"defense": name, "honest": KEPT | {"l1": l1}}
            path = tmp_path / f"{name}{seed}"
            write_cell(path, "knockoff", seed, [float(right.mean())], right=right[None], **told)
    rows = frontier(report.load([tmp_path])).set_index("defense")
    assert rows["is_undominated"].to_dict() == {"none": True, "rounding": True}


def test_a_sweep_of_proof_of_work_alone_has_none(tmp_path: Path) -> None:
    write(tmp_path, "none", 0, 0.9, NO_TOLL)
    write(tmp_path, "pow", 0, 0.9, {})
    assert frontier(report.load([tmp_path])).empty
    report.write_report(report.load([tmp_path]), tmp_path / "out")
    assert not list((tmp_path / "out").glob("frontier*"))


def test_the_plot_says_what_its_axes_are(compared: Path) -> None:
    sweep = report.load([compared])
    report.write_report(sweep, compared / "out")
    assert (compared / "out" / "frontier_digits.png").read_bytes().startswith(b"\x89PNG")
    figure = Figure()
    beside = plot_frontier(figure, frontier(sweep), looks_of(sweep))
    answers, time = figure.axes
    assert (answers.get_xlabel(), time.get_xlabel()) == (
        "honest user's answers lost (%)",
        "honest user's extra time (%)",
    )
    pow_ = next(line for line in time.lines if line.get_xdata() == pytest.approx([10, 40], abs=1e-9))
    assert pow_.get_ydata() == pytest.approx([95, 95])
    assert [text.get_text() for text in time.texts] == ["attacker's time ×2"] * 2
    names = sorted(text.get_text() for text in answers.texts)
    assert names == ["mad", "mad+pow", "none\npow", "prada", "rounding"]
    title, caption, _ = beside
    assert title.get_text().startswith("digits:") and caption.get_text() == CAPTION


def test_an_attack_that_met_one_defense_only_has_its_panels(compared: Path) -> None:
    write_cell(compared / "other", "entropy", 0, [0.4], defense="top_k", honest=KEPT | {"l1": 0.3}, **NO_TOLL)
    figure = Figure()
    sweep = report.load([compared])
    plot_frontier(figure, frontier(sweep), looks_of(sweep))
    assert len(figure.axes) == 4
    (point,) = (line for line in figure.axes[2].lines if line.get_ydata() == pytest.approx([40]))
    assert point.get_xdata() == pytest.approx([15])


def test_names_of_near_points_do_not_lie_on_each_other(tmp_path: Path) -> None:
    defenses = {"none": 0.0, "gaussian_noise": 0.5, "grad_redirect": 0.7, "mad": 1.0, "reverse_sigmoid": 1.6}
    for defense, l1 in defenses.items():
        write(tmp_path, defense, 0, 0.93, NO_TOLL, l1=l1)
    sweep = report.load([tmp_path])
    figure = Figure()
    plot_frontier(figure, frontier(sweep), looks_of(sweep))
    figure.draw_without_rendering()
    texts = [text for text in figure.axes[0].texts if text.get_text() in defenses]
    assert len(texts) == len(defenses)
    boxes = [text.get_window_extent() for text in texts]
    overlapping = [
        (one.get_text(), other.get_text())
        for i, one in enumerate(texts)
        for j, other in enumerate(texts[:i])
        if boxes[i].overlaps(boxes[j])
    ]
    assert overlapping == []
