"""What artifacts have in common, tried on one that makes a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiment.artifacts.base import Artifact, read_result
from experiment.keys import Config
from storage.files import write_json
from storage.store import Entry


@dataclass(frozen=True, eq=False)
class Number(Artifact[int]):
    """A number; `started` gets a line each time that it is made, with what an earlier try has left."""

    value: int
    started: list[list[str]] = field(default_factory=list)
    fails: bool = False

    kind = "numbers"

    @property
    def identity(self) -> Config:
        return {"value": self.value}

    def make(self, directory: Path) -> None:
        self.started.append(sorted(path.name for path in directory.iterdir()))
        (directory / "begun").touch()
        if self.fails:
            raise RuntimeError("told to fail")
        write_json(directory / "result.json", {"number": self.value})

    def load(self, entry: Entry) -> int:
        number: int = read_result(entry)["number"]
        return number


class ResumedNumber(Number):
    """A number that is gone on with."""

    resumable = True


@pytest.fixture
def cell(tmp_path: Path) -> Any:
    return SimpleNamespace(config={"paths": {"store": str(tmp_path / "store")}})


def test_artifact_is_made_once_for_its_identity(cell: Any, tmp_path: Path) -> None:
    first, again, other = Number(cell, 3), Number(cell, 3), Number(cell, 4)
    assert [first.get(), again.get(), other.get()] == [3, 3, 4]
    assert [len(number.started) for number in (first, again, other)] == [1, 0, 1]
    assert len(list((tmp_path / "store/numbers").iterdir())) >= 2


@pytest.mark.parametrize(("kind", "found"), [(Number, []), (ResumedNumber, ["begun"])])
def test_only_a_resumable_artifact_goes_on_with_what_a_failed_try_left(
    cell: Any, kind: type[Number], found: list[str]
) -> None:
    with pytest.raises(RuntimeError, match="told to fail"):
        kind(cell, 5, fails=True).get()
    number = kind(cell, 5)
    assert number.get() == 5
    assert number.started == [found]
