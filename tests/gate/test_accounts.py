"""What `tollgate accounts` tells of a gate's accounts."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from commands.accounts import main
from gate.ledgers.sqlite import SqliteLedger
from pow.calibration.progressive import ProgressiveCalibration
from pow.gains.volume import VolumeGain
from pow.tariff import Standing, Tariff


def test_totals_are_exported_without_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.sqlite"
    tariff = Tariff(ProgressiveCalibration(gains={"volume": VolumeGain()}))

    def asked(numbers: np.ndarray | None) -> np.ndarray:
        before = tariff.fresh(1, 0.0) if numbers is None else Standing.of(numbers)
        return tariff.after(before, np.ones((3, 1)), 7.0).vector()

    with closing(SqliteLedger(path)) as ledger:
        ledger.update("bob", asked)
        ledger.update("ann", asked)
        ledger.update("ann", asked)
    assert main(["export", "--ledger", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["account,queries,gain,last_asked", "ann,6,6.000000,7", "bob,3,3.000000,7"]


@pytest.mark.parametrize("command", [["export"], ["remove", "ann"]])
def test_a_ledger_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    path = tmp_path / "none.sqlite"
    assert main([*command, "--ledger", str(path)]) == 1
    assert f"--ledger {path}: there is no such ledger" in capsys.readouterr().err
    assert not path.exists()
