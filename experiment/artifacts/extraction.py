"""The extraction of a cell: the attack's trace, and what the substitute is worth after each round."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from torch import nn

from experiment.artifacts.base import Artifact, read_result
from experiment.artifacts.defending import bind_perturbations, bind_watching, imagined_defense
from experiment.artifacts.metering import VictimMeter
from experiment.artifacts.victim import ServedVictim
from experiment.asking.journal import Journal
from experiment.asking.oracle import UNUSABLE, budgeted_oracle
from experiment.keys import Config
from extraction.checkpoint import RoundResult
from extraction.extract import Evaluation, Extraction, NothingAnswered
from storage.errors import InputError
from storage.files import write_atomically, write_json, write_tensors
from storage.store import Entry

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Extracted:
    """What an extraction has given so far: a row a round, and the trace with a row a query."""

    rounds: list[RoundResult]
    trace: pd.DataFrame


@dataclass(frozen=True, eq=False)
class FinishedExtraction(Extracted):
    """What a finished extraction has left, with the trace's file and the key in the store."""

    trace_path: Path
    key: str


@dataclass(frozen=True, eq=False)
class StoredExtraction(Artifact[FinishedExtraction]):
    """The extraction of the cell: its attack on the victim, round by round.

    `on_round` is called after each round that is run here, and once for an extraction that is resumed.
    """

    victim: ServedVictim
    meter: VictimMeter
    on_round: Callable[[Extracted], None]

    kind = "extractions"
    resumable = True

    @property
    def identity(self) -> Config:
        """See Artifact."""
        return self.cell.identity.extraction

    def make(self, directory: Path) -> None:
        """Run the extraction, or what is left of it; raises InputError where the victim cannot be asked."""
        if (directory / "result.json").is_file():  # written last: a kill came before the entry was published
            self._tidy(directory)
            return
        journal, checkpoint = Journal(directory / "journal"), directory / "checkpoint.pt"
        if journal.drop_damaged():
            checkpoint.unlink(missing_ok=True)
        extraction = self._begin(checkpoint)
        if extraction.rounds:
            log.info("resuming after round %d (%d queries)", len(extraction.rounds), extraction.queries)
            self.on_round(Extracted(extraction.rounds, journal.trace()))
        substitute = self._run(extraction, journal)
        write_tensors(directory / "substitute.pt", substitute.state_dict())
        trace = journal.trace()
        write_atomically(directory / "trace.parquet", lambda path: trace.to_parquet(path))
        write_json(directory / "result.json", {"rounds": [asdict(result) for result in extraction.rounds]})
        self._tidy(directory)

    @staticmethod
    def _tidy(directory: Path) -> None:
        """Remove what only an extraction that goes on needs."""
        (directory / "checkpoint.pt").unlink(missing_ok=True)
        if (journal := directory / "journal").exists():
            shutil.rmtree(journal)

    def load(self, entry: Entry) -> FinishedExtraction:
        """The rounds and the trace."""
        if not entry.made:
            log.info("extraction %s is in the store", entry.key)
        rounds = [RoundResult(**row) for row in read_result(entry)["rounds"]]
        trace_path = entry.path / "trace.parquet"
        return FinishedExtraction(rounds, pd.read_parquet(trace_path), trace_path, entry.key)

    def _begin(self, checkpoint: Path) -> Extraction:
        """The extraction, at the round that its checkpoint holds."""
        cell = self.cell
        return Extraction(
            cell.attack,
            cell.pool,
            cell.data.train.num_classes,
            cell.substitute,
            cell.settings,
            cell.hardware,
            checkpoint,
            cell.other_pool,
            self.meter.costs if cell.knows_cost else None,
            imagined_defense(cell, self.victim) if cell.knows_defense else None,
        )

    def _run(self, extraction: Extraction, journal: Journal) -> nn.Module:
        """The substitute of the extraction, run to its end."""
        cell, victim, test = self.cell, self.victim, self.cell.data.test

        def after_round(result: RoundResult) -> None:
            self.meter.keep_votes()
            self.on_round(Extracted(extraction.rounds, journal.trace()))

        try:
            meter, changes = self.meter.meter(), bind_perturbations(cell, victim)
            next_round = len(extraction.rounds) + 1
            watching = bind_watching(cell, victim)
            watch = watching.watch() if watching else None
            oracle = budgeted_oracle(cell, victim.network, meter, changes, watch, journal, next_round)
            evaluation = Evaluation(test.images, test.labels, victim.labels(test.images))
            return extraction.run(oracle, evaluation, after_round)
        except (*UNUSABLE, NothingAnswered) as error:
            raise InputError(str(error)) from error
