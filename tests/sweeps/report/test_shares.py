"""Shares of few users and seeds: their intervals against scipy, and by experiments whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.means import over_seeds
from sweeps.report.tables import markdown


def watched(shares: list[float], samples: int, attack: str = "standard") -> pd.DataFrame:
    """Points of one attack, a row a seed, with the share of honest users who raised an alarm."""
    columns = {"honest_false_alarms": shares, "honest_false_alarms_samples": float(samples)}
    return pd.DataFrame(columns).assign(attack=attack, knows="", gave_up=False, seed=range(len(shares)))


def exact(hits: int, samples: int) -> tuple[float, float]:
    found = stats.binomtest(hits, samples).proportion_ci(0.95, "exact")
    return float(found.low), float(found.high)


def test_false_alarms_count_independent_users() -> None:
    """No alarm of 200 users who share the images of four: the interval is that of four."""
    (row,) = over_seeds(watched([0.0], 4), ["attack"]).to_dict("records")
    assert (row["honest_false_alarms_low"], row["honest_false_alarms_high"]) == pytest.approx(exact(0, 4))
    assert "honest_false_alarms_interval" not in row and "honest_false_alarms_samples" not in row
    (row,) = over_seeds(watched([0.25, 0.25], 4), ["attack"]).to_dict("records")
    ends = (row["honest_false_alarms_low"], row["honest_false_alarms_high"])
    assert ends == pytest.approx(exact(1, 4)), "seeds that agree have asked about the same test images"


def test_false_alarms_hold_what_seeds_vary_by() -> None:
    shares = [0.25, 0.5, 0.75]
    (row,) = over_seeds(watched(shares, 100), ["attack"]).to_dict("records")
    of_seeds = stats.t.ppf(0.975, 2) * stats.sem(shares)
    low, high = exact(50, 100)
    assert row["honest_false_alarms_low"] == pytest.approx(max(0, 0.5 - np.hypot(0.5 - low, of_seeds)))
    assert row["honest_false_alarms_high"] == pytest.approx(min(1, 0.5 + np.hypot(high - 0.5, of_seeds)))


@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize(("calm", "samples"), [(0.05, 3), (0.5, 10)])
def test_the_interval_of_false_alarms_covers(seeds: int, calm: float, samples: int) -> None:
    """In 200 experiments. Each part of the images has a share of alarms of its own, alike for all seeds.

    200 users see each part in many orders, so a share of 200 would be sure of what few parts tell.
    """
    random, rows = np.random.default_rng(seeds), []
    for number in range(200):
        of_parts = random.beta(calm, 0.95 - calm if calm < 0.5 else calm, samples)
        truth = calm / 0.95 if calm < 0.5 else 0.5
        users = random.binomial(200 // samples, of_parts, (seeds, samples)) / (200 // samples)
        rows.append(watched(users.mean(1).tolist(), samples, str(number)))
    table = over_seeds(pd.concat(rows), ["attack"])
    held = (table["honest_false_alarms_low"] <= truth) & (truth <= table["honest_false_alarms_high"])
    assert held.mean() >= 0.92
    alarms = 200 * table["honest_false_alarms"].to_numpy()
    low, high = stats.beta.ppf(0.025, alarms, 201 - alarms), stats.beta.ppf(0.975, alarms + 1, 200 - alarms)
    of_users = (np.nan_to_num(low) <= truth) & (truth <= np.nan_to_num(high, nan=1.0))
    assert of_users.mean() < 0.9, "as if users were independent"


def test_three_alarms_of_three_seeds_are_no_certainty(tmp_path: Path) -> None:
    honest: dict[str, Any] = {"accuracy": 0.9, "l1": 0.0, "false_alarms": 0.0, "false_alarms_samples": 10}
    for seed in range(3):
        told: dict[str, Any] = {"defense": "prada", "honest": honest, "queries_until_alarm": 50}
        write_cell(tmp_path / str(seed), "knockoff", seed, [0.9], **told)
    sweep = report.load([tmp_path])
    (row,) = report.table(sweep).to_dict("records")
    assert (row["alarm_low"], row["alarm_high"]) == pytest.approx(exact(3, 3))
    assert "| 100 (29 to 100) |" in markdown(report.table(sweep), sweep)
    assert "| 0.0 (0.0 to 30.8) |" in markdown(report.table(sweep), sweep)
    (alone,) = over_seeds(sweep.curves.head(1), ["attack"]).to_dict("records")
    assert alone["alarm"] == 1 and np.isnan(alone["alarm_low"]), "of one seed nothing is said of others"
