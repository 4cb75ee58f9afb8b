"""The calibration that is fitted to how a gate was used."""

from __future__ import annotations

import re
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
        _, first, _ = calibrate_to_usage(path, "digits", [], number)
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
        ("words.csv", "column gain must hold numbers of at least 0"),
        ("few.csv", "5 accounts are too few to fit to; at least 20"),
        ("missing.csv", "No such file"),
    ):
        assert main([str(tmp_path / name)]) == 1
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
