"""The fit of the progressive calibration: what it promises, and whether its intervals hold the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pow import fitting
from pow.calibration.progressive import ProgressiveCalibration
from pow.fitting import (
    Bound,
    Terms,
    as_fitted,
    broken_promise,
    fit_figures,
    fit_to_accounts,
    fit_to_population,
    overheads,
)
from pow.gains.excess import ExcessGain
from pow.gains.volume import VolumeGain
from pow.population import Population, Stratum, sorted_by_label

BOUNDS = (Bound(0.95, 2.0), Bound(0.99, 4.0))
TERMS = Terms(BOUNDS, 0.5)
UNFITTED = ProgressiveCalibration(gains={"excess": ExcessGain(weight=0.5), "volume": VolumeGain(weight=0.5)})
POPULATION = Population(
    {
        "usual": Stratum(0.6),
        "single": Stratum(0.2, request_size=1),
        "narrow": Stratum(0.1, classes=1),
        "corrupted": Stratum(0.05, corruption=0.3),
        "repeating": Stratum(0.03, repeats=0.5),
        "heavy": Stratum(0.02, median=1.0, spread=0.0),
    },
    longest=600,
    count=200,
)


def images(number: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    label = random.integers(10, size=number)
    cost = random.gamma(0.3, size=number) * (1 + (label == 3))
    clean = pd.DataFrame({"label": label, "cost_pate": cost, "corrupted": False})
    return pd.concat([clean, clean.assign(corrupted=True, cost_pate=1.2 * cost)], ignore_index=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "REPLICATES", 40)


def shares(calibration: ProgressiveCalibration, number: int, seed: int) -> list[float]:
    """Shares of many users below each bound, on as many images."""
    priced, random = sorted_by_label(images(number, seed)), np.random.default_rng(seed)
    many = np.concatenate(
        [overheads(calibration, POPULATION.draw(priced, random), priced) for _ in range(20)]
    )
    return [float((many < bound.overhead).mean()) for bound in BOUNDS]


@pytest.mark.usefixtures("quick")
def test_bounds_hold_for_users_of_images_never_seen() -> None:
    for seed in range(6):
        fitted, _ = fit_to_population(UNFITTED, POPULATION, TERMS, images(1000, seed), seed)
        assert fitted.steepness > 0
        for share, bound in zip(shares(fitted, 20_000, 99), BOUNDS, strict=True):
            assert share >= bound.users


@pytest.mark.usefixtures("quick")
@pytest.mark.slow  # hundreds of fits
@pytest.mark.parametrize("number", [300, 1000])
def test_the_interval_holds_the_truth(number: int) -> None:
    """In 9 of 10 fits at least; the truth is that of users on very many images."""
    held = np.zeros(len(BOUNDS))
    fits = 20
    for seed in range(fits):
        fitted, promise = fit_to_population(UNFITTED, POPULATION, TERMS, images(number, seed), seed)
        truth = shares(fitted, 20_000, 99)
        held += [each.low <= share <= each.high for each, share in zip(promise.held, truth, strict=True)]
    assert (held / fits >= 0.9).all(), held / fits


@pytest.mark.usefixtures("quick")
def test_the_promise_tells_each_stratum_and_what_holds_under_stress() -> None:
    fitted, promise = fit_to_population(UNFITTED, POPULATION, TERMS, images(1000, 0), 0)
    assert set(promise.held[0].by_stratum) == set(POPULATION.strata)
    heavy = promise.held[0].by_stratum["heavy"]
    assert heavy is not None and heavy < 0.3, "who asks as much as an attacker pays more"
    assert promise.held[1].by_stratum["heavy"] == 1.0, "but within the second bound"
    assert 1.0 < promise.stress.dearer_bill < 1.3
    assert promise.stress.longest_bill < 4
    assert promise.stress.longest_overhead < 5
    assert as_fitted(UNFITTED, fit_figures(fitted)) == fitted
    for each in promise.held:
        assert f"below an overhead of {each.bound.overhead:g}" in promise.sentence()


def test_steepness_against_a_search() -> None:
    """The largest with which the users keep the bounds, which a search by bisection finds as well."""
    random = np.random.default_rng(0)
    queries = random.integers(1, 600, size=300)
    gains = queries * random.gamma(5, 0.2, size=300)
    calibration = replace(UNFITTED, allowance=100.0)

    def holds(steepness: float) -> bool:
        tried = replace(calibration, steepness=steepness)
        overhead = 1 + tried.potential(gains) / (queries * tried.own_seconds)
        return all((overhead < bound.overhead).mean() >= bound.users for bound in BOUNDS)

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    found = fitting._largest_steepness(calibration, gains, queries, BOUNDS)
    assert found == pytest.approx(low, rel=1e-6)


def test_accounts_of_a_gate_can_be_fitted_to() -> None:
    random = np.random.default_rng(0)
    queries = np.maximum(1, random.lognormal(4, 1, size=500)).astype(int)
    gains = queries * random.gamma(5, 0.2, size=500)
    fitted = fit_to_accounts(UNFITTED, gains, queries, TERMS, seed=0)
    assert fitted.allowance == pytest.approx(np.median(gains))
    overhead = 1 + fitted.potential(gains) / (queries * fitted.own_seconds)
    for bound in BOUNDS:
        assert (overhead < bound.overhead).mean() >= bound.users
    with pytest.raises(ValueError, match="3 accounts are too few"):
        fit_to_accounts(UNFITTED, gains[:3], queries[:3], TERMS, seed=0)


def test_what_cannot_be_promised_is_refused() -> None:
    dear = replace(UNFITTED, share=5.0)
    with pytest.raises(ValueError, match=r"pow_calibration\.share: without any steepness"):
        fit_to_population(dear, POPULATION, TERMS, images(300, 0), 0)
    for make, said in (
        (lambda: Bound(1.0, 2.0), r"bounds\.\*\.users must be a number above 0 and below 1"),
        (lambda: Bound(0.9, 1.0), r"bounds\.\*\.overhead must be a number above 1"),
        (lambda: Terms((), 0.5), "must name at least one bound"),
        (lambda: Terms(BOUNDS, 1.0), "within_allowance must be a number of at least 0 and below 1"),
        (lambda: Stratum(0.1, spread=-1.0), r"strata\.\*\.spread must be a number between 0 and 5"),
        (lambda: Stratum(0.1, classes=0), r"strata\.\*\.classes must be a whole number of at least 1"),
        (lambda: Population({}), "must name at least one stratum"),
        (
            lambda: Population({"all": Stratum(1.0)}, count=3),
            r"honest_users\.count must be a whole number of at least 20",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            make()


def test_strata_ask_as_they_say() -> None:
    priced, random = sorted_by_label(images(500, 0)), np.random.default_rng(0)
    users = POPULATION.draw(priced, random)
    names = list(POPULATION.strata)
    label = priced["label"].to_numpy()[users.row]
    for user in range(len(users.queries)):
        mine, name = users.user == user, names[users.stratum[user]]
        assert mine.sum() == users.queries[user] <= POPULATION.longest
        if name == "narrow":
            assert len(set(label[mine])) == 1
        if name == "heavy":
            assert users.queries[user] == POPULATION.longest
        assert users.request_size[user] <= (1 if name == "single" else 64)
        if name != "corrupted":
            assert not priced["corrupted"].to_numpy()[users.row[mine]].any()
    shares = np.bincount(users.stratum, minlength=len(names)) / len(users.stratum)
    expected = [stratum.share for stratum in POPULATION.strata.values()]
    assert shares == pytest.approx(expected, abs=0.12)
    again = POPULATION.draw(priced, np.random.default_rng(0))
    assert again.row.tolist() == users.row.tolist()


def test_users_who_are_spread_evenly_have_the_populations_quantiles() -> None:
    """Of strata exactly, of lengths within a few per cent, where as many drawn ones are far off."""
    priced = sorted_by_label(images(400, 0))
    many = replace(POPULATION, count=200_000).draw(priced.iloc[:10], np.random.default_rng(0)).queries
    exact = np.quantile(many, [0.5, 0.95])

    def quantiles(evenly: bool) -> np.ndarray:
        draws = [POPULATION.draw(priced, np.random.default_rng(seed), evenly=evenly) for seed in range(8)]
        return np.array([np.quantile(users.queries, [0.5, 0.95]) for users in draws])

    assert np.abs(quantiles(True) / exact - 1).max() < 0.1
    assert np.abs(quantiles(False) / exact - 1).max() > 0.1
    users = POPULATION.draw(priced, np.random.default_rng(0), evenly=True)
    assert np.bincount(users.stratum).tolist() == [120, 40, 20, 10, 6, 4]


@pytest.mark.usefixtures("quick")
def test_a_promise_that_does_not_hold_is_said() -> None:
    """As where the images that were fitted to lack the dear ones."""
    _, promise = fit_to_population(UNFITTED, POPULATION, TERMS, images(400, 0), 0)
    figures = promise.figures()
    assert broken_promise(figures) is None
    usual, nearly_all = figures["held"]
    worse = {"held": [usual | {"share": 0.4, "high": 0.93}, nearly_all]}
    said = broken_promise(worse)
    assert said is not None and said.startswith("the toll does not keep its promise: 40.0 % of other users")
    assert "below an overhead of 2, not 95 %" in said
    assert broken_promise({"held": [usual | {"share": 0.94, "high": 0.96}]}) is None


@pytest.mark.parametrize("cost", [np.nan, np.inf, -np.inf])
def test_a_cost_that_is_no_number_is_not_fitted_to(cost: float) -> None:
    priced = images(40, 0)
    priced.loc[3, "cost_pate"] = cost
    with pytest.raises(ValueError, match="an honest user's image has a cost_pate that is not finite"):
        fit_to_population(UNFITTED, POPULATION, TERMS, priced, 0)


@pytest.mark.parametrize("number", [1, 2, 19])
def test_a_toll_is_not_fitted_to_a_handful_of_images(number: int) -> None:
    with pytest.raises(ValueError, match=f"20 images of honest users at least, not to {number}"):
        fit_to_population(UNFITTED, POPULATION, TERMS, images(number, 0), 0)
