"""The meter of a cell's victim, with the teachers that it asks."""

from __future__ import annotations

from torch import Tensor

from experiment.artifacts.teachers import TrainedTeachers
from experiment.artifacts.victim import ServedVictim
from experiment.artifacts.votes import RememberedVotes
from experiment.components import Cell
from victims.measures.base import MeasuredVictim
from victims.meter import Meter
from victims.teachers import TeacherSettings


class VictimMeter:
    """What queries cost under every configured measure. The meter is built once, when it is first needed.

    A measure may train or load the teachers for it. Their new votes go into the store by `keep_votes`.
    """

    def __init__(self, cell: Cell, victim: ServedVictim) -> None:
        self.cell, self.victim = cell, victim
        self._meter: Meter | None = None
        self._votes: RememberedVotes | None = None

    def meter(self) -> Meter:
        """The meter, with all that its measures need."""
        if self._meter is None:
            cell = self.cell
            measured = MeasuredVictim(self.victim.network, cell.data.train, cell.hardware, self._teachers)
            measures = {name: make(measured) for name, make in cell.measures.items()}
            self._meter = Meter(measures, cell.buckets(measured))
        return self._meter

    def columns(self, images: Tensor) -> dict[str, Tensor]:
        """Each measure's columns (see Meter.costs), float64 `[n]`, for images in [0, 1] `[n, c, h, w]`."""
        return self.meter().costs(images, self.victim.log_probabilities(images))

    def costs(self, images: Tensor) -> dict[str, Tensor]:
        """The cost under each measure, by its name, float64 `[n]`, for images in [0, 1] `[n, c, h, w]`."""
        columns = self.columns(images)
        return {name: columns[f"cost_{name}"] for name in self.meter().measures}

    def keep_votes(self) -> None:
        """Put the votes counted so far into the store."""
        if self._votes is not None:
            self._votes.save()

    def _teachers(self, settings: TeacherSettings) -> RememberedVotes:
        self._votes = TrainedTeachers(self.cell, settings).get()
        return self._votes
