"""The progressive calibration of a cell, fitted once to what honest users' images cost its victim."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiment.artifacts.base import Artifact, read_result
from experiment.artifacts.honest_users import HonestCosts
from experiment.keys import Config
from pow.calibration.progressive import ProgressiveCalibration
from pow.fitting import Terms, as_fitted, fit_figures, fit_to_population
from pow.population import Population
from storage.files import write_json
from storage.store import Entry

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FittedToll(Artifact[tuple[ProgressiveCalibration, dict[str, Any]]]):
    """The fitted calibration, and the figures of what it promises (see pow.fitting.Promise)."""

    honest: HonestCosts
    unfitted: ProgressiveCalibration
    population: Population
    terms: Terms

    kind = "tolls"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        return self.cell.identity.fitted_toll

    def make(self, directory: Path) -> None:
        """Fit the calibration, and keep what it was fitted to be."""
        unfitted = replace(self.unfitted, strength=1.0)
        fitted, promise = fit_to_population(
            unfitted, self.population, self.terms, self.honest.get(), self.cell.config["seed"]
        )
        log.info("%s", promise.sentence())
        write_json(directory / "result.json", fit_figures(fitted) | {"promise": promise.figures()})

    def load(self, entry: Entry) -> tuple[ProgressiveCalibration, dict[str, Any]]:
        """See the class."""
        found = read_result(entry)
        return as_fitted(self.unfitted, found), found
