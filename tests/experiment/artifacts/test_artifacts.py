"""What artifacts have in common, tried on one that makes a number."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from experiment.artifacts.base import Artifact, read_result
from experiment.artifacts.extraction import StoredExtraction
from experiment.artifacts.victim import TrainedVictim
from experiment.cell import drop_other_result
from experiment.compose import compose_cell
from experiment.keys import Config
from storage.files import write_json
from storage.store import Entry
from support.defended_cells import composed
from victims.architectures.build import channel_statistics


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


def linear(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(image_shape).numel(), num_classes))


@pytest.mark.parametrize(("served", "better"), [("null", "true"), ("true", None)])
def test_a_checkpoint_that_is_better_with_the_other_normalisation_is_said(
    served: str, better: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    own = [f"victim.checkpoint={tmp_path}/own.pt", f"victim.normalize={served}", "network@victim=custom"]
    config = composed(
        tmp_path / "store", *own, f"victim.architecture._target_={__name__}.linear", "defense=none"
    )
    torch.save(linear((1, 16, 16), 10).state_dict(), tmp_path / "own.pt")
    train = compose_cell(config, progress=False).data.train
    mean, std = channel_statistics(train.images)
    pixels = ((train.images / 255 - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)).flatten(1)
    ones = torch.cat([pixels, torch.ones(len(pixels), 1)], 1)
    targets = nn.functional.one_hot(train.labels, 10).double()
    solved = torch.linalg.lstsq(ones.double(), targets, driver="gelsd").solution.float()
    torch.save({"1.weight": solved[:-1].T.contiguous(), "1.bias": solved[-1]}, tmp_path / "own.pt")
    TrainedVictim(compose_cell(config, progress=False)).get()
    assert "loading the victim" in caplog.text and "training" not in caplog.text
    assert (f"with victim.normalize={better} the checkpoint's accuracy" in caplog.text) == (
        better is not None
    )


@pytest.mark.parametrize("knows", [True, False])
def test_a_victim_that_only_guesses_is_said_each_time(
    knows: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    epochs = (
        ["victim.recipe.epochs=2"]
        if knows
        else ["victim.recipe.epochs=1", "victim.recipe.learning_rate=1e-9"]
    )
    config = composed(tmp_path / "store", *epochs, "defense=none")
    for _ in range(2):
        caplog.clear()
        served = TrainedVictim(compose_cell(config, progress=False)).get()
        said = [each.message for each in caplog.records if "may be that of guessing" in each.message]
        assert len(said) == (0 if knows else 1)
        assert (served.accuracy > 0.3) == knows


def test_an_extraction_that_was_killed_before_it_was_published_asks_nothing_again(tmp_path: Path) -> None:
    """All it needs lies in its folder once result.json does, which is written last."""
    (tmp_path / "journal").mkdir()
    for name in ("result.json", "trace.parquet", "checkpoint.pt", "journal/000001-000000.parquet"):
        (tmp_path / name).write_text("as it was")
    nothing: Any = None  # with which an extraction could not begin
    StoredExtraction(nothing, nothing, nothing, nothing).make(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "trace.parquet"]
    assert (tmp_path / "result.json").read_text() == "as it was"


@pytest.mark.parametrize(
    ("content", "is_kept"),
    [('{"keys": {"cell": "mine"}}', True), ('{"keys": {"cell": "x"}}', False), ("{", False)],
)
def test_a_folder_of_another_cell_loses_its_result(content: str, is_kept: bool, tmp_path: Path) -> None:
    drop_other_result(tmp_path, "mine")
    (tmp_path / "result.json").write_text(content)
    drop_other_result(tmp_path, "mine")
    assert (tmp_path / "result.json").exists() == is_kept
