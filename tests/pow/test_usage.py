"""The calibration that is fitted to how a gate was used."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from commands.calibrate import main
from pow.usage import calibrate_to_usage


def log(path: Path, accounts: int = 300) -> Path:
    random = np.random.default_rng(0)
    queries = np.maximum(1, random.lognormal(4, 1, size=accounts)).astype(int)
    gain = queries * random.gamma(5, 0.2, size=accounts)
    pd.DataFrame({"account": range(accounts), "queries": queries, "gain": gain}).to_csv(path, index=False)
    return path


def test_a_log_becomes_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log(tmp_path / "totals.csv")
    assert main([str(path), "--dataset", "digits"]) == 0
    options, *held = capsys.readouterr().out.splitlines()
    allowance, steepness = (float(option.partition("=")[2]) for option in options.split())
    assert allowance == pytest.approx(pd.read_csv(path)["gain"].median(), rel=1e-4)
    assert steepness > 0
    shares = [float(line.split()[0]) for line in held]
    assert shares[0] >= 93 and shares[1] >= 97
    assert all("of 150 accounts, by a fit to the other 150, stay below" in line for line in held)


def test_what_holds_is_told_of_accounts_that_were_not_fitted_to(tmp_path: Path) -> None:
    """The bounds hold of all accounts that are fitted to by construction, and not always of others.

    Beside the share stands its exact interval, against scipy's.
    """
    random, shares = np.random.default_rng(0), []
    for number in range(5):
        path = tmp_path / f"{number}.csv"
        gain = (random.pareto(3, 60) + 1) / 2
        pd.DataFrame({"queries": 50, "gain": 50 * gain}).to_csv(path, index=False)
        _, first, *_ = calibrate_to_usage(path, "digits", [], number)
        found = re.match(r"([\d.]+) % \(([\d.]+) to ([\d.]+)\) of 30 accounts", first)
        assert found is not None
        share, low, high = (float(it) / 100 for it in found.groups())
        exact = binomtest(round(30 * share), 30).proportion_ci(0.95, "exact")
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-3)
        shares.append(share)
    assert min(shares) < 0.95, "which is never so of those that were fitted to"


def test_few_accounts_are_told_to_be_those_fitted_to(tmp_path: Path) -> None:
    lines = calibrate_to_usage(log(tmp_path / "few.csv", accounts=30), "digits", [], 0)
    assert all("of the 30 accounts that were fitted to stay below" in line for line in lines[1:])


def test_logs_that_cannot_be_fitted_to_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "columns.csv").write_text("account,queries\na,3\n")
    (tmp_path / "words.csv").write_text("queries,gain\n3,much\n")
    log(tmp_path / "few.csv", accounts=5)
    for name, said in (
        ("columns.csv", "has no column gain"),
        ("words.csv", "column gain must hold numbers from 0 to 1e+15"),
        ("few.csv", "5 accounts are too few to fit to; at least 20"),
        ("missing.csv", "No such file"),
    ):
        assert main([str(tmp_path / name)]) == 1
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def with_thieves(path: Path, queries: float, gain: float, thieves: int = 1, honest: int = 60) -> Path:
    totals = pd.read_csv(log(path, accounts=honest))
    more = pd.DataFrame(
        {"account": [f"thief{it}" for it in range(thieves)], "queries": queries, "gain": gain}
    )
    pd.concat([totals, more]).to_csv(path, index=False)
    return path


def test_few_who_decide_the_fit_are_named(tmp_path: Path) -> None:
    """A thief in the log would switch the toll off for all."""
    clean = calibrate_to_usage(log(tmp_path / "clean.csv", accounts=60), "digits", [], 0)
    assert not any("gained far more" in line for line in clean)
    lines = calibrate_to_usage(with_thieves(tmp_path / "one.csv", 3000, 20000), "digits", [], 0)
    told = re.search(
        r"the account thief0 has gained far more .* the steepness would be ([\d.e+-]+)", lines[-1]
    )
    assert told is not None
    steepness = [float(options[0].rpartition("=")[2]) for options in (clean, lines)]
    assert float(told[1]) > 3 * steepness[1] and float(told[1]) == pytest.approx(steepness[0], rel=1)


@pytest.mark.parametrize(
    ("queries", "gain", "thieves", "honest"),
    [(3000, 20000, 9, 300), (3000, 20000, 30, 300), (3000, 20000, 6, 60), (60, 1500, 6, 300)],
)
def test_several_thieves_do_not_hide_each_other(
    tmp_path: Path, queries: float, gain: float, thieves: int, honest: int
) -> None:
    path = with_thieves(tmp_path / "log.csv", queries, gain, thieves, honest)
    try:
        said = calibrate_to_usage(path, "digits", [], 0)[-1]
    except ValueError as error:
        said = str(error)
    names = "thief0, thief1, thief2, thief3, thief4, ..."
    assert f"{thieves} accounts ({names}) have gained far more than all others" in said


def test_honest_users_are_seldom_named(tmp_path: Path) -> None:
    """Logs of honest users whose gains a query vary much, a few of which have one who stands apart."""
    random, named = np.random.default_rng(0), 0
    for number in range(10):
        queries = np.maximum(1, random.lognormal(4, 1, size=200)).astype(int)
        path = tmp_path / f"{number}.csv"
        pd.DataFrame({"queries": queries, "gain": queries * random.lognormal(0, 1, 200)}).to_csv(path)
        with suppress(ValueError):
            named += "gained far more" in calibrate_to_usage(path, "digits", [], 0)[-1]
    assert named <= 1


def test_few_with_whom_there_is_no_fit_are_named(tmp_path: Path) -> None:
    path = with_thieves(tmp_path / "log.csv", 5000, 580000, thieves=3, honest=200)
    with pytest.raises(ValueError, match=r"thief0, thief1, thief2.* Without them there is a fit"):
        calibrate_to_usage(path, "digits", [], 0)


def test_disabled_accounts_are_not_fitted_to(tmp_path: Path) -> None:
    path = with_thieves(tmp_path / "log.csv", 3000, 20000)
    totals = pd.read_csv(path)
    totals.assign(disabled=totals["account"].astype(str).str.startswith("thief").astype(int)).to_csv(path)
    clean = log(tmp_path / "clean.csv", accounts=60)
    assert calibrate_to_usage(path, "digits", [], 0) == calibrate_to_usage(clean, "digits", [], 0)


@pytest.mark.parametrize(
    ("queries", "gain", "said"),
    [
        (100, 10, "too much alike to fit to"),
        (1, 1e-300, "too much alike to fit to"),
        (100, 0, "no account has gained anything"),
        (1e300, 1e300, "column queries must hold numbers from 0 to 1e[+]15"),
        (10, "inf", "column gain must hold numbers"),
        (10, "x", "column gain must hold numbers"),
    ],
)
def test_what_gives_no_fit_is_said(tmp_path: Path, queries: float, gain: object, said: str) -> None:
    path = tmp_path / "log.csv"
    pd.DataFrame({"queries": [queries] * 40, "gain": [gain] * 40}).to_csv(path, index=False)
    with pytest.raises(ValueError, match=said):
        calibrate_to_usage(path, "digits", [], 0)


def test_another_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pow_calibration=paper: only progressive"):
        calibrate_to_usage(log(tmp_path / "log.csv"), "digits", ["pow_calibration=paper"], 0)
