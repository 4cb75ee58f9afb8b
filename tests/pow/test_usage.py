"""The calibration that is fitted to how a gate was used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from commands.calibrate import main


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
    assert shares[0] >= 95 and shares[1] >= 99


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
