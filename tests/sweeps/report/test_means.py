"""Means of multiples: geometric, with intervals on the log scale, against scipy and against draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.columns import COLUMNS, LIMITS
from sweeps.report.means import over_seeds
from sweeps.report.sampling.images import image_errors
from sweeps.report.tables import markdown, with_interval
from sweeps.report.terminal import _with_short_ends, terminal_table


def seeds_of(**columns: Sequence[float] | np.ndarray) -> pd.DataFrame:
    """Points of one attack, a row a seed."""
    rows = pd.DataFrame(columns)
    return rows.assign(attack="standard", knows="", gave_up=False, seed=range(len(rows)))


def test_multiples_have_geometric_means_and_others_not() -> None:
    overheads = np.array([2.0, 8.0, 30.0])
    (row,) = over_seeds(seeds_of(overhead=overheads, accuracy=overheads), ["attack"]).to_dict("records")
    assert row["overhead"] == pytest.approx(stats.gmean(overheads))
    logs = np.log(overheads)
    low, high = np.exp(stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs)))
    assert (row["overhead_low"], row["overhead_high"]) == pytest.approx((low, high))
    assert "overhead_interval" not in row
    assert row["accuracy"] == pytest.approx(40 / 3)
    assert row["accuracy_interval"] == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(overheads))


def test_seeds_that_agree_have_their_figure_exactly() -> None:
    (row,) = over_seeds(seeds_of(overhead=[8.0, 8.0, 8.0]), ["attack"]).to_dict("records")
    assert (row["overhead"], row["overhead_low"], row["overhead_high"]) == (8, 8, 8)
    (single,) = over_seeds(seeds_of(overhead=[8.0]), ["attack"]).to_dict("records")
    assert single["overhead"] == 8 and np.isnan(single["overhead_low"])


def test_the_ratio_of_means_is_the_mean_of_ratios() -> None:
    price, honest = np.array([9.0, 200.0]), np.array([3.0, 4.0])
    rows = seeds_of(seconds_to_90=price, honest_q95=honest, price_over_honest=price / honest)
    row = over_seeds(rows, ["attack"]).iloc[0]
    assert row["price_over_honest"] == pytest.approx(row["seconds_to_90"] / row["honest_q95"])


@pytest.mark.parametrize(("figures", "ends"), [([0.0, 0.0], 0.0), ([0.0, 5.0], np.nan)])
def test_a_price_of_nothing_has_a_mean_of_nothing(figures: list[float], ends: float) -> None:
    row = over_seeds(seeds_of(seconds_to_90=figures), ["attack"]).iloc[0]
    assert row["seconds_to_90"] == 0
    assert row[["seconds_to_90_low", "seconds_to_90_high"]].tolist() == pytest.approx([ends] * 2, nan_ok=True)


def test_the_mean_of_a_lower_bound_is_one() -> None:
    rows = seeds_of(seconds_to_90=[10.0, 1000.0], reached_90=[1.0, 0.0], overhead=[2.0, 3.0])
    row = over_seeds(rows, ["attack"]).iloc[0]
    assert (row["seconds_to_90"], row["reached_90"]) == (pytest.approx(100), 0.5)
    assert np.isnan(row["seconds_to_90_low"]) and np.isnan(row["seconds_to_90_high"])
    assert row["overhead_low"] < row["overhead"] < row["overhead_high"], "which is known"


def test_the_interval_holds_the_truth() -> None:
    """Log-normal draws of three seeds: the interval holds the median in 95 % of 4,000 sets.

    With the normal quantile for Student's it would be 82 %.
    """
    draws = np.random.default_rng(0).lognormal(1.0, 1.5, (4000, 3))
    rows = seeds_of(overhead=draws.ravel()).assign(attack=np.repeat(np.arange(4000), 3).astype(str))
    table = over_seeds(rows, ["attack"])
    truth = np.exp(1.0)
    held = ((table["overhead_low"] <= truth) & (truth <= table["overhead_high"])).mean()
    assert 0.94 <= held <= 0.96


def hits(seeds: int, images: int, random: np.random.Generator) -> np.ndarray:
    """Which images each seed gets right, bool `[seeds, images]`: some images are hard, some seeds poor.

    The mean over all images and seeds there could be is 0.7534, by millions of draws.
    """
    ease, skill = random.normal(3, 4, images), random.normal(0, 0.1, (seeds, 1))
    right: np.ndarray = random.random((seeds, images)) < 1 / (1 + np.exp(-(ease + skill)))
    return right


def rows_of(right: np.ndarray, other: np.ndarray | None = None, attack: str = "standard") -> pd.DataFrame:
    """Points of one attack, a row a seed, with the images `[seeds, images]` that were right."""

    def bits(table: np.ndarray) -> list[bytes]:
        return [np.packbits(row).tobytes() for row in table]

    columns: dict[str, Any] = {"accuracy": right.mean(1), "right": bits(right), "images": right.shape[1]}
    if other is not None:
        change = right.mean(1) - other.mean(1)
        columns |= {"right_undefended": bits(other), "accuracy_change": change}
    rows = pd.DataFrame(columns)
    return rows.assign(attack=attack, knows="", gave_up=False, seed=range(len(rows)))


NORMAL_POINTS = np.polynomial.hermite_e.hermegauss(61)
"""Points and weights that integrate over a standard normal."""


def share_of(ease: float, spread: float, skill: float | np.ndarray) -> float:
    """Mean of `right` over all images, by integration; over all skills, where `skill` is their spread."""
    z, weight = NORMAL_POINTS
    scale = np.hypot(spread, skill) if np.isscalar(skill) else spread
    centre = ease if np.isscalar(skill) else ease + float(np.asarray(skill).item())
    return float((weight / weight.sum() / (1 + np.exp(-(centre + scale * z)))).sum())


@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize(("ease", "spread", "skill"), [(3.0, 4.0, 0.3), (12.0, 4.0, 0.5)])
def test_the_interval_of_an_accuracy_covers(seeds: int, ease: float, spread: float, skill: float) -> None:
    """In 200 experiments on 300 images that seeds share, with 75 and 99.7 % right in the mean.

    Of several seeds it is the mean over all seeds and images there could be that is covered; of a single one
    what this very model would get right of all images.
    """
    random, parts, truths = np.random.default_rng(seeds), [], []
    for number in range(200):
        eases, own = random.normal(ease, spread, 300), random.normal(0, skill, (seeds, 1))
        right = random.random((seeds, 300)) < 1 / (1 + np.exp(-(eases + own)))
        parts.append(rows_of(right, attack=str(number)).assign(agrees=lambda it: it["right"]))
        truths.append(share_of(ease, spread, own if seeds == 1 else skill))
    rows = pd.concat(parts)
    table = over_seeds(rows.assign(fidelity=rows["accuracy"]), ["attack"])
    for name in ("accuracy", "fidelity"):
        held = (abs(table[name] - truths) <= table[f"{name}_interval"]).mean()
        assert held >= 0.92
    if seeds == 3 and ease == 3:  # a test that cannot fail is none: seeds alone do not tell
        alone = over_seeds(rows.drop(columns=["right", "agrees", "images"]), ["attack"])
        assert (abs(alone["accuracy"] - truths) <= alone["accuracy_interval"]).mean() < 0.9


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_interval_of_a_paired_difference_covers(seeds: int) -> None:
    """In 200 experiments on 500 images: a defense that makes copies lose one image in 500."""
    random, parts, lost = np.random.default_rng(seeds), [], 0.002
    for number in range(200):
        free = random.random((seeds, 500)) < 1 / (1 + np.exp(-random.normal(4, 3, 500)))
        gained = random.random((seeds, 500)) < 0.001
        defended = np.where(random.random((seeds, 500)) < lost, False, free | gained)
        parts.append(rows_of(defended, free, attack=str(number)))
    is_right = share_of(4, 3, 0.0)
    truth = (1 - lost) * (is_right + (1 - is_right) * 0.001) - is_right
    table = over_seeds(pd.concat(parts), ["attack"])
    held = (abs(table["accuracy_change"] - truth) <= table["accuracy_change_interval"]).mean()
    assert held >= 0.9
    assert table["accuracy_change_interval"].median() < table["accuracy_interval"].median()


def test_all_right_is_not_sure_of_other_images() -> None:
    (row,) = over_seeds(rows_of(np.ones((3, 300), bool)), ["attack"]).to_dict("records")
    assert row["accuracy"] == 1 and 0.005 < row["accuracy_interval"] < 0.02


def test_an_interval_is_that_of_a_bootstrap_over_seeds_and_images() -> None:
    """Of sixty seeds, of which a bootstrap says what there is to know."""
    random = np.random.default_rng(1)
    right = hits(60, 101, random)
    draws = [right[random.integers(0, 60, 60)][:, random.integers(0, 101, 101)].mean() for _ in range(4000)]
    (row,) = over_seeds(rows_of(right), ["attack"]).to_dict("records")
    assert row["accuracy_interval"] == pytest.approx(1.96 * np.std(draws), rel=0.05)


def test_one_seed_has_the_interval_of_its_images() -> None:
    right = np.arange(1000)[None] < 900
    (row,) = over_seeds(rows_of(right), ["attack"]).to_dict("records")
    shrunk = 902 / 1004
    assert row["accuracy_interval"] == pytest.approx(1.96 * np.sqrt(shrunk * (1 - shrunk) / 1004), rel=1e-3)


def test_paired_differences_are_sharper_than_two_means() -> None:
    """Two models that differ in six of a thousand images: the interval of Bonett and Price (2012)."""
    right = np.repeat(np.arange(1000)[None] < 900, 2, axis=0)
    other = right.copy()
    other[:, :6] = False
    (row,) = over_seeds(rows_of(other, right), ["attack"]).to_dict("records")
    assert row["accuracy_change"] == pytest.approx(-0.006)
    of_pairs = np.sqrt((8 / 1002 - (6 / 1002) ** 2) / 1002)
    assert row["accuracy_change_interval"] == pytest.approx(1.96 * of_pairs, rel=1e-3)
    assert row["accuracy_interval"] > 3 * row["accuracy_change_interval"]


def test_an_honest_users_accuracy_has_the_interval_of_its_images_at_least() -> None:
    """Student's of three seeds and Agresti and Coull's of a share of 2,000 images, added as variances."""
    shares = np.array([0.95, 0.96, 0.97])
    rows = seeds_of(honest_accuracy=shares, honest_images=[2000.0] * 3)
    (row,) = over_seeds(rows, ["attack"]).to_dict("records")
    of_seeds = stats.t.ppf(0.975, 2) * stats.sem(shares)
    of_images = 1.96 * np.sqrt((1922 / 2004) * (82 / 2004) / 2004)
    expected = np.sqrt(of_seeds**2 + of_images**2)
    assert row["honest_accuracy_interval"] == pytest.approx(expected, rel=1e-4)
    assert "honest_images" not in row
    (single,) = over_seeds(rows.head(1), ["attack"]).to_dict("records")
    assert single["honest_accuracy_interval"] == pytest.approx(
        1.96 * np.sqrt((1902 / 2004) * (102 / 2004) / 2004), rel=1e-4
    )
    (old,) = over_seeds(rows.drop(columns="honest_images"), ["attack"]).to_dict("records")
    assert old["honest_accuracy_interval"] == pytest.approx(of_seeds)


@pytest.mark.parametrize("divergence", [0.125, None])
def test_one_model_is_no_different_from_itself(divergence: float | None, tmp_path: Path) -> None:
    """Prices and mere reports of alarms change nothing of what was stolen, so no image could tell."""
    right = np.random.default_rng(0).random((2, 50)) < 0.9
    watched = "two" if divergence else "one"  # another key of the same model
    for name, extraction, other in (("none", "one", 0), ("prada", watched, 0), ("rounding", "three", 1)):
        told: dict[str, Any] = {"defense": name, "calibration": None}
        told |= {"keys": {"cell": name, "extraction": extraction}}
        if divergence:
            told["transferability"] = {"kl": divergence + other, "transfer": 0.5}
        write_cell(tmp_path / name, "knockoff", 0, right.mean(1).tolist(), right=right, **told)
    rows = report.table(report.load([tmp_path])).set_index("defense")
    assert (rows["accuracy_change"].drop("none") == 0).all() and (rows["accuracy_interval"] > 0).all()
    intervals = rows["accuracy_change_interval"].to_dict()
    assert np.isnan(intervals["prada"])
    assert intervals["rounding"] > 0, "another model, which is right on the same"


def test_the_victims_accuracy_and_transfer_have_the_intervals_of_their_images(tmp_path: Path) -> None:
    """Against the interval of Agresti and Coull, which adds four images: 98 % of 50, 30 % of 40 of them."""
    right = np.ones((1, 50), bool)
    worth: dict[str, Any] = {
        "transferability": {"kl": 0.1, "transfer": 0.3},
        "config": {"dataset": {"transfer": {"images": 40}}},
    }
    write_cell(tmp_path / "0", "knockoff", 0, [1.0], right=right, **worth)
    (row,) = report.table(report.load([tmp_path])).to_dict("records")
    for name, share, images in (("victim_accuracy", 0.98, 50), ("transfer", 0.3, 40)):
        shrunk = (share * images + 2) / (images + 4)
        half = 1.96 * np.sqrt(shrunk * (1 - shrunk) / (images + 4))
        assert row[f"{name}_interval"] == pytest.approx(half, rel=1e-4)
    assert np.isnan(row["kl_interval"]), "nobody tells it by image"


def test_a_report_pairs_each_defense_with_none(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    expected = []
    for seed in (0, 1):
        free = random.random((2, 50)) < 0.9
        defended = free & (random.random((2, 50)) < 0.9)
        for name, right in (("none", free), ("mad", defended)):
            accuracies = right.mean(1).tolist()
            folder = tmp_path / f"{name}{seed}"
            write_cell(folder, "knockoff", seed, accuracies, defense=name, calibration=None, right=right)
        expected.append(float(defended[1].mean() - free[1].mean()))
    sweep = report.load([tmp_path])
    of_mad, of_none = report.table(sweep).sort_values("defense").to_dict("records")
    assert of_mad["accuracy_change"] == pytest.approx(np.mean(expected))
    assert np.isnan(of_none["accuracy_change"]) and np.isnan(of_none["accuracy_change_interval"])
    assert 0 < of_mad["accuracy_change_interval"] < 1
    text = markdown(report.table(sweep), sweep)
    assert "against none, points" in text and f"| {100 * np.mean(expected):+.2f} ±" in text
    (tmp_path / "mad0" / "test_images.csv").write_text("round,images\n1,50\n")
    again = report.table(report.load([tmp_path])).sort_values("defense").to_dict("records")
    assert again[0]["accuracy_change"] == pytest.approx(np.mean(expected)), "without its images, too"


def priced(reached: bool, seconds: float) -> dict[str, Any]:
    """What result.json says of the price to reach, and of honest users."""
    bill = {"reached": reached, "queries": 10 * seconds, "pow_seconds": seconds, "attacker_usd": 0.001}
    honest = {name: {"median": 1.0, "q95": 4.0} for name in ("queries", "pow_seconds")}
    return {"price_to_reach": {"accuracy": {"90": bill}}, "honest_bill": honest}


def test_tables_say_which_prices_are_lower_bounds(tmp_path: Path) -> None:
    write_cell(tmp_path / "0", "knockoff", 0, [0.9], **priced(True, 100.0))
    write_cell(tmp_path / "1", "knockoff", 1, [0.5], **priced(False, 400.0))
    sweep = report.load([tmp_path])
    text = markdown(report.table(sweep), sweep)
    assert "| > 200 (1 of 2 came so far) |" in text, "the geometric mean of 100 and 400"
    assert "| > 50 (1 of 2 came so far) |" in text, "over the honest users' 4"
    shown, _ = terminal_table(sweep, 120)
    column = next(column for column in shown.columns if "honest q95" in str(column.header))
    assert list(column.cells) == ["> 50"]


def test_tables_have_the_prices_of_other_shares_and_of_fidelity(tmp_path: Path) -> None:
    for seed, reached in enumerate([True, False]):
        told = priced(True, 100.0)
        bill = told["price_to_reach"]["accuracy"]["90"]
        told["price_to_reach"] = {
            "accuracy": {"90": bill, "80": bill | {"pow_seconds": 7.0}},
            "fidelity": {"95": bill | {"pow_seconds": 70.0, "reached": reached}},
        }
        write_cell(tmp_path / str(seed), "knockoff", seed, [0.9], **told)
    sweep = report.load([tmp_path])
    head, _, row = markdown(report.table(sweep), sweep).splitlines()
    shown = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert shown["price of 80 %, s"].startswith("7")
    assert shown["price of 95 % fidelity, s"] == "> 70 (1 of 2 came so far)"
    assert "price of 95 %, s" not in shown, "nobody says what it costs"


@pytest.mark.parametrize(
    ("name", "figures", "text"),
    [
        ("accuracy", [0.98, 1.0, 0.99], "99.00 (96.52 to 100.00)"),
        ("accuracy", [0.90, 0.91, 0.92], "91.00 ± 2.5"),
        ("honest_refused", [0.0, 0.01, 0.02], "1.0 (0.0 to 3.5)"),
        ("kl", [0.1, 0.2, 0.3], "0.2 (0 to 0.448)"),
        ("honest_l1", [1.99, 2.0, 2.0], "2 (1.98 to 2)"),
    ],
)
def test_intervals_end_where_figures_do(name: str, figures: list[float], text: str) -> None:
    row = over_seeds(seeds_of(**{name: figures}), ["attack"]).iloc[0]
    half = stats.t.ppf(0.975, 2) * stats.sem(figures)
    least, most = LIMITS[name]
    mean = np.mean(figures)
    assert row[f"{name}_interval"] == pytest.approx(half), "by which plots draw their bands"
    assert row[f"{name}_low"] == pytest.approx(max(mean - half, least), abs=1e-12)
    assert row[f"{name}_high"] == pytest.approx(min(mean + half, most))
    assert " ".join(with_interval(row, name, COLUMNS[name])) == text


def test_each_seed_has_a_point_at_each_number_of_queries(tmp_path: Path) -> None:
    """Also where one seed's curve stands still between two numbers, and another's does not."""
    for seed in (0, 1):
        write_cell(tmp_path / str(seed), "knockoff", seed, [0.5, 0.6])
    curve = pd.read_csv(tmp_path / "1" / "curve.csv")
    more = curve.iloc[[0]].assign(round=2, queries=140, accuracy=0.7)
    pd.concat([curve, more]).sort_values("queries").to_csv(tmp_path / "1" / "curve.csv", index=False)
    table = report.table(report.load([tmp_path]), at=[100, 120, 150])
    assert table["seeds"].tolist() == [2, 2], "at 120 both stand where they did at 100"
    assert table["accuracy"].tolist() == pytest.approx([0.5, 0.6])


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ([1.03, 1.041, 1.049], "1.04 (1.017 to 1.064)"),
        ([1.5, 2.0, 4.0], "2.289 (0.65 to 8)"),
    ],
)
def test_short_ends_hold_their_mean(figures: list[float], text: str) -> None:
    row = over_seeds(seeds_of(overhead=figures), ["attack"]).iloc[0]
    column = COLUMNS["overhead"]
    mean, _ = with_interval(row, "overhead", column)
    _, ends = with_interval(row, "overhead", _with_short_ends(row, "overhead", column))
    assert f"{mean} {ends}" == text


def test_a_seed_whose_model_is_the_same_differs_on_no_image() -> None:
    """It is left without the other's bits, and the other seeds' images count all the same."""
    random = np.random.default_rng(0)
    own, other = (random.random((3, 200)) < 0.9 for _ in range(2))
    other[0] = own[0]
    bits = [[np.packbits(row).tobytes() for row in hits] for hits in (own, other)]
    rows = pd.DataFrame({"attack": "a", "images": 200, "right": bits[0], "right_undefended": bits[1]})
    whole, masked, none = (
        image_errors(each, ["attack"], pd.Index(["a"]), "accuracy_change").iloc[0]
        for each in (
            rows,
            rows.assign(right_undefended=[np.nan, *bits[1][1:]]),
            rows.assign(right_undefended=np.nan),
        )
    )
    assert masked == whole > 0 and np.isnan(none)
