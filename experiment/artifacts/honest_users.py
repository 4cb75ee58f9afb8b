"""What the images of simulated honest users cost at a cell's victim."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiment.artifacts.base import Artifact
from experiment.artifacts.metering import VictimMeter
from experiment.keys import Config
from pow.honest_users import halves
from storage.store import Entry
from training.batches import to_float
from training.seeds import generator
from victims.datasets.corruptions import lightly_corrupted
from victims.datasets.images import ImageSet

log = logging.getLogger(__name__)

HONEST_IMAGES = 2000
"""Test images that honest users are simulated from, at most."""


@dataclass(frozen=True, eq=False)
class HonestCosts(Artifact[pd.DataFrame]):
    """What honest users draw from: a row a test image, and one for each image lightly corrupted.

    Columns: the measures', `label` (the true class) and `corrupted`.
    """

    meter: VictimMeter

    kind = "honest"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        return self.cell.identity.honest

    def make(self, directory: Path) -> None:
        """Price the images, clean and corrupted, and keep the teachers' votes too."""
        test, random = self.cell.data.test, generator(self.cell.config["seed"], "honest")
        order = honest_sample(test, random)
        log.info("measuring honest users' costs on %d test images, clean and corrupted", len(order))
        labels = test.labels[order].cpu().numpy()
        parts = []
        for corrupted in (False, True):
            priced = self._price(test.images[order], random if corrupted else None)
            parts.append(priced.assign(label=labels, corrupted=corrupted))
        pd.concat(parts, ignore_index=True).to_parquet(directory / "trace.parquet")
        self.meter.keep_votes()

    def load(self, entry: Entry) -> pd.DataFrame:
        """See the class."""
        return pd.read_parquet(entry.path / "trace.parquet")

    def fitting(self) -> pd.DataFrame:
        """The rows of the half of the images that calibrations are fitted to."""
        return self._halves()[0]

    def held_out(self) -> pd.DataFrame:
        """The rows of the other half, by which whatever is told of honest users is measured."""
        return self._halves()[1]

    def _halves(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The same halves as `fit_to_population` and `fit_to_users` make of all rows with the cell's seed."""
        return halves(self.get(), np.random.default_rng(self.cell.config["seed"]))

    def _price(self, images: Tensor, corruption: torch.Generator | None) -> pd.DataFrame:
        """Each measure's columns, a row an image uint8 `[n, c, h, w]`."""
        hardware, parts = self.cell.hardware, []
        for part in images.split(hardware.batch_size):
            batch = to_float(part.to(hardware.device))
            if corruption is not None:
                batch = lightly_corrupted(batch, corruption)
            costs = self.meter.columns(batch)
            parts.append(pd.DataFrame({name: values.cpu().numpy() for name, values in costs.items()}))
        return pd.concat(parts, ignore_index=True)


def clean(honest: pd.DataFrame) -> pd.DataFrame:
    """The rows of images without corruption."""
    return honest[~honest["corrupted"]].reset_index(drop=True)


def honest_sample(test: ImageSet, random: torch.Generator) -> Tensor:
    """Numbers of the test images that honest users ask about, in random order, int64 `[n]`."""
    return torch.randperm(len(test.images), generator=random)[:HONEST_IMAGES]
