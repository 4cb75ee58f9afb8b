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
from support.gates.ledgers import free_port


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


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence with which it ends."""
    assert main([*arguments]) == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    return sentence


def test_a_ledger_that_cannot_be_used_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"redis://user:secret@127.0.0.1:{free_port()}/0"
    said = failure(capsys, "add", "ann", "--ledger", url)
    assert said.startswith("error: Redis on 127.0.0.1 cannot be used: ") and "secret" not in said
    said = failure(capsys, "add", "ann", "--ledger", "postgres://there/db")
    assert said == "error: a ledger is a file, or redis://HOST:PORT/NUMBER, not postgres://there/db"
    assert "an account's name is 1 to 64" in failure(capsys, "add", "a+b", "--ledger", "new.sqlite")
    assert not [*tmp_path.iterdir()], "nothing was made"


def test_what_is_no_file_of_keys_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys"
    path.write_text("a letter to a friend")
    assert "holds no signing keys" in failure(capsys, "rotate-keys", "--keys", str(path))
    assert path.read_text() == "a letter to a friend"
    assert "Is a directory" in failure(capsys, "rotate-keys", "--keys", str(tmp_path))
    said = failure(capsys, "rotate-keys", "--keys", str(tmp_path / "new"), "--keep", "-1")
    assert said == "error: --keep must be a whole number of at least 0, not -1"
    assert [*tmp_path.iterdir()] == [path]
