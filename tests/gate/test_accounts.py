"""What `tollgate accounts` tells of a gate's accounts."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands.accounts import main
from gate.challenges import shared_keyring
from gate.ledgers.base import Charge
from gate.ledgers.sqlite import SqliteLedger
from pow.calibration.progressive import ProgressiveCalibration
from pow.gains.volume import VolumeGain
from pow.tariff import LineTariff, ProgressiveTariff, Standing
from support.gates.ledgers import LATER, challenge, free_port
from support.gates.server import FEW_HASHES, METER


def test_totals_are_exported_without_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.sqlite"
    tariff = ProgressiveTariff(ProgressiveCalibration(gains={"volume": VolumeGain()}))

    def asked(numbers: np.ndarray | None) -> Charge:
        before = tariff.fresh(1, 0.0) if numbers is None else Standing.of(numbers)
        return Charge(tariff.after(before, np.ones((3, 1)), 7.0).vector(), b"answer", "token", LATER)

    with closing(SqliteLedger(path)) as ledger:
        for number, account in enumerate(["bob", "ann", "ann"]):
            ledger.charge(challenge(number), account, account, asked)
    for command in (["add", "bob"], ["disable", "bob"], ["export"]):
        assert main([*command, "--ledger", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines == ["account,queries,gain,last_asked,disabled", "ann,6,6.000000,7,0", "bob,3,3.000000,7,1"]


@pytest.mark.parametrize("command", [["export"], ["list"], ["rotate-key"], ["remove", "ann"]])
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


def test_signing_keys_are_rotated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(SqliteLedger(path)) as ledger:
        shared_keyring(ledger)
        (first,) = ledger.signing_keys()
        assert main(["rotate-key", "--ledger", str(path)]) == 0
        assert ledger.signing_keys()[1:] == [first]
        assert main(["rotate-key", "--ledger", str(path), "--keep", "0"]) == 0
        assert len(ledger.signing_keys()) == 1 and first not in ledger.signing_keys()
    said = failure(capsys, "rotate-key", "--ledger", str(path), "--keep", "-1")
    assert said == "error: --keep must be a whole number between 0 and 1000, not -1"


def test_an_account_is_listed_shown_limited_disabled_and_reset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "ledger.sqlite")

    def said(*arguments: str) -> list[str]:
        assert main([*arguments, "--ledger", path]) == 0
        return capsys.readouterr().out.splitlines()

    for name in ("bob", "ann"):
        assert said("add", name)[0].startswith("tg_")
    with closing(SqliteLedger(Path(path))) as ledger:
        standing = replace(LineTariff(FEW_HASHES, METER.cost).fresh(1, 0.0), queries=7, gain=2.25, at=86400.0)
        ledger.charge(b"id", "ann", "ann", lambda numbers: Charge(standing.vector(), b"", "token", LATER))
    assert said("disable", "ann") == said("limit", "ann", "--pending", "3") == []
    head, ann, bob = said("list")
    assert head.split("  ")[0] == "account"
    assert bob.split() == [
        "bob",
        "active",
        "0",
        "never",
        "usual",
        "usual",
    ]
    assert ann.split()[:4] == ["ann", "disabled", "7", "2.2"] and ann.split()[-2:] == ["3", "usual"]
    assert said("show", "ann")[1].split() == ann.split()
    assert said("enable", "ann") == said("limit", "ann") == said("reset", "ann") == []
    assert said("show", "ann")[1].split() == ["ann", "active", "0", "never", "usual", "usual"]
    capsys.readouterr()
    named = ("--ledger", path)
    assert said("reset", "ann") == []
    for command in ("reset", "show", "disable", "enable", "limit", "remove"):
        assert failure(capsys, command, "eve", *named) == "error: there is no account 'eve'"
    too_many = failure(capsys, "limit", "ann", "--pending", "9" * 20, *named)
    assert "--pending must be a whole number between 1 and 1000000000" in too_many
    assert "--keep must be" in failure(capsys, "rotate-key", "--keep", "9" * 20, *named)
    refused = failure(capsys, "limit", "ann", "--pending", "0", *named)
    assert refused == "error: --pending must be a whole number between 1 and 1000000000, not 0"
