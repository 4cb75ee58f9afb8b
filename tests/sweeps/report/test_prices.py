"""Intervals of prices hold the sampling of test images: by loops, and by experiments whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.means import over_seeds
from sweeps.report.page import page
from sweeps.report.results import CellResult
from sweeps.report.sampling.prices import REPLICATES, crossings, replicates_of, victims_hits
from sweeps.report.tables import markdown

EASE, SPREAD = 2.0, 4.0
"""Mean and standard deviation over images of the logit by which a perfect copy gets one right."""

NORMAL_POINTS = np.polynomial.hermite_e.hermegauss(61)
"""Points and weights that integrate over a standard normal."""

QUERIES = np.round(100 * 1.25 ** np.arange(16))


def packed(hits: np.ndarray) -> list[bytes]:
    return [np.packbits(row).tobytes() for row in hits]


def hits_of(right: np.ndarray, agrees: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"images": right.shape[1], "right": packed(right), "agrees": packed(agrees)})


def logits(skill: float) -> np.ndarray:
    """By how much rounds are better than guessing, as numbers to add to an image's ease."""
    return skill + 3 * np.log(QUERIES / QUERIES[5])


def shares(shift: np.ndarray | float) -> Any:
    """The share of all images that are right, by numerical integration."""
    each = 1 / (1 + np.exp(-(EASE + SPREAD * NORMAL_POINTS[0] + np.asarray(shift)[..., None])))
    return each @ (NORMAL_POINTS[1] / NORMAL_POINTS[1].sum())


def experiment(
    number: int, seeds: int, images: int, random: np.random.Generator
) -> tuple[pd.DataFrame, float]:
    """Points of a sweep whose seeds share images, and the logarithm of the price by all images."""
    ease, uniform = random.normal(EASE, SPREAD, images), random.random(images)
    rows, truths = [], []
    for seed in range(seeds):
        shift = logits(random.normal(0, 0.4))
        right = uniform < 1 / (1 + np.exp(-(ease + shift[:, None])))
        victim = random.random(images) < 1 / (1 + np.exp(-(ease + 4.0)))
        curve = pd.DataFrame({"queries": QUERIES, "accuracy": right.mean(1)})
        told = {"victim_accuracy": victim.mean(), "price_to_reach": {"accuracy": {}}}
        cell = CellResult(Path(), told, curve, {}, hits_of(right, right == victim))
        is_enough = curve["accuracy"] >= 0.9 * victim.mean()
        truths.append(QUERIES[(shares(shift) >= 0.9 * shares(4.0)).argmax()])
        reached = {"reached_90": float(is_enough.any()), "queries_to_90": QUERIES[is_enough.argmax()]}
        rows.append({"attack": str(number), "knows": "", "gave_up": False, "seed": seed} | reached)
        rows[-1]["replicates"] = replicates_of(cell)
    return pd.DataFrame(rows), float(np.log(truths).mean())


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_interval_of_a_price_covers(seeds: int) -> None:
    """In 200 experiments with 300 test images; for one seed what all images would show of this very model."""
    random = np.random.default_rng(seeds)
    found = [experiment(number, seeds, 300, random) for number in range(200)]
    rows, truth = pd.concat([rows for rows, _ in found]), np.exp([truth for _, truth in found])
    table = over_seeds(rows, ["attack"])
    low, high = table["queries_to_90_low"], table["queries_to_90_high"]
    assert ((low <= truth * (1 + 1e-9)) & (truth <= high * (1 + 1e-9))).mean() >= 0.9
    assert (high / low).median() < 4
    alone = over_seeds(rows.drop(columns="replicates"), ["attack"])
    low, high = alone["queries_to_90_low"], alone["queries_to_90_high"]
    assert ((low <= truth) & (truth <= high)).mean() < 0.95


def test_rounds_that_reach_a_goal_are_those_of_a_loop() -> None:
    random = np.random.default_rng(0)
    right = random.random((4, 40)) < np.array([0.5, 0.7, 0.8, 0.9])[:, None]
    victim = random.random(40) < 0.95
    hits = hits_of(right, right == victim)
    found = crossings(hits, float(victim.mean()))
    drawn = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=REPLICATES)
    for replicate, counts in enumerate([np.ones(40, int), *drawn]):
        images = np.repeat(np.arange(40), counts)
        for goal, share in (("80", 0.8), ("90", 0.9)):
            accurate = [row[images].mean() >= share * victim[images].mean() - 1e-9 for row in right]
            assert found[goal][replicate] == (accurate.index(True) if any(accurate) else -1)
        faithful = [(row == victim)[images].mean() >= 0.8 - 1e-9 for row in right]
        assert found["fidelity_80"][replicate] == (faithful.index(True) if any(faithful) else -1)


def test_what_the_victim_gets_right_is_known_but_for_who_is_alike() -> None:
    """Images that no round shows anything of are alike, so any of them may be the right ones."""
    random = np.random.default_rng(1)
    victim = random.random(60) < 0.8
    right = random.random((3, 60)) < 0.2
    agrees = np.where(right, victim, ~victim & (random.random((3, 60)) < 0.2))
    found = victims_hits(right.astype(np.float32), agrees.astype(np.float32), float(victim.mean()))
    shown = (right | agrees).any(0)
    assert 5 < (~shown).sum() < 55
    assert (found[shown] == victim[shown]).all() and found.sum() == victim.sum()


def test_a_price_that_other_images_might_not_show_has_no_upper_end(tmp_path: Path) -> None:
    """The last of its rounds just comes to 90 % of the victim's accuracy."""
    right = np.arange(100)[None] < np.array([[60], [82], [90]])
    bill = {"reached": True, "queries": 300.0, "pow_seconds": 8.0, "attacker_usd": 0.001}
    told: dict[str, Any] = {
        "victim_accuracy": 1.0,
        "price_to_reach": {"accuracy": {"90": bill}},
        "honest_bill": {name: {"median": 1.0, "q95": 4.0} for name in ("queries", "pow_seconds")},
    }
    write_cell(tmp_path / "0", "knockoff", 0, [0.6, 0.82, 0.9], right=right, **told)
    sweep = report.load([tmp_path])
    (row,) = report.table(sweep).to_dict("records")
    assert row["queries_to_90"] == 300 and row["queries_to_90_high"] == np.inf
    assert 200 < row["queries_to_90_low"] <= 300
    assert " or more)" in markdown(report.table(sweep), sweep)
    assert '"queries_to_90_high":[null]' in page(sweep), "JSON has no infinity"
