"""The PATE teachers of a cell, and what they have voted so far."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from experiment.artifacts.base import Artifact
from experiment.artifacts.votes import RememberedVotes
from experiment.keys import Config
from storage.files import write_json, write_tensors
from storage.store import Entry
from victims.datasets.images import ImageSet
from victims.teachers import TeacherEnsemble, TeacherSettings, build_teacher, train_teachers

log = logging.getLogger(__name__)

SCORED = 1000
"""Test images that the teachers' accuracy is measured on, at most."""


@dataclass(frozen=True, eq=False)
class TrainedTeachers(Artifact[RememberedVotes]):
    """Teachers who are asked once about each image of a data set."""

    settings: TeacherSettings

    kind = "teachers"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        identity = self.cell.identity.teachers
        assert identity is not None, "teachers are asked for by the measure that configures them"
        return identity

    def make(self, directory: Path) -> None:
        """Train all teachers, measure their accuracy, and keep both."""
        started = time.perf_counter()
        count, at_once = self.settings.count, min(self.settings.at_once, self.settings.count)
        log.info("training %d teachers, %d at a time", count, at_once)
        ensemble = train_teachers(self.settings, self.cell.data.train, self.cell.hardware)
        state = {name: values.cpu() for name, values in ensemble.state.items()}
        write_tensors(directory / "weights.pt", state)
        result = _accuracies(ensemble, self.cell.data.test)
        log.info(
            "teachers: mean accuracy %.2f %%, ensemble %.2f %%",
            100 * result["mean_accuracy"],
            100 * result["ensemble_accuracy"],
        )
        seconds = time.perf_counter() - started
        write_json(directory / "result.json", result | {"seconds": seconds})

    def load(self, entry: Entry) -> RememberedVotes:
        """The teachers, who remember what the store holds of their votes."""
        train, hardware = self.cell.data.train, self.cell.hardware
        state = torch.load(entry.path / "weights.pt", weights_only=True)
        skeleton = build_teacher(self.settings, train)
        ensemble = TeacherEnsemble(skeleton, state, train.num_classes, hardware)
        return RememberedVotes(ensemble, self.store.root / "votes" / entry.key)


def _accuracies(ensemble: TeacherEnsemble, test: ImageSet) -> dict[str, float]:
    """Mean accuracy of the teachers, and accuracy of their majority."""
    few = test.select(slice(0, SCORED))
    predictions = ensemble.predictions(few.images)
    labels = few.labels.to(predictions.device)
    majority: Tensor = predictions.mode(dim=0).values
    return {
        "mean_accuracy": float((predictions == labels).double().mean()),
        "ensemble_accuracy": float((majority == labels).double().mean()),
    }
