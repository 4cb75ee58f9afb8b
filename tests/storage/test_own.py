"""A user's module that is named like a package of ours is told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiment.kinds import defense_class
from pow.puzzles.settings import puzzle_settings
from storage.options import instantiate
from storage.own import OWN, keep_own_packages, named_like_ours
from support.commands import ROOT

SAID = "gate is a package of Tollgate's own, so gate.py in this folder needs another name"


def test_it_is_said_where_the_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gate.py").write_text("class Mine: pass\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=SAID):
        instantiate({"_target_": "gate.Mine"}, "attack.rule")
    with pytest.raises(ValueError, match=SAID):
        defense_class({"defense": {"mine": {"_target_": "gate.Mine"}}}, "mine")
    with pytest.raises(ValueError, match=SAID):
        puzzle_settings("gate.Mine")
    assert named_like_ours("pow.Mine") == "", "there is no such module here"
    assert named_like_ours("mine.Mine") == ""


def test_where_no_file_is_meant_there_is_no_hint() -> None:
    assert Path.cwd() == ROOT
    assert named_like_ours("gate.Mine") == ""


def test_the_names_are_those_of_the_packages() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages == set(OWN)
    keep_own_packages()
