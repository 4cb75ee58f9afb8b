"""The stages of a cell that train or ask, each in the store: victim, teachers, honest users, extraction."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from experiment.artifacts.defending import bind_perturbations, imagined_defense
from experiment.artifacts.votes import RememberedVotes
from experiment.asking.journal import Journal, JournaledOracle
from experiment.asking.oracle import victim_oracle
from experiment.asking.remote import WrongServer
from experiment.components import Cell, InputError
from experiment.keys import Config
from extraction.attacks.base import CostOracle
from extraction.checkpoint import RoundResult
from extraction.extract import Evaluation, Extraction, NothingAnswered
from gate.client import Refused
from storage.files import write_atomically, write_json
from storage.store import Store
from training.batches import to_float
from training.fit import accuracy, predict_logits
from training.seeds import generator
from victims.datasets.corruptions import lightly_corrupted
from victims.datasets.images import ImageSet
from victims.defenses.base import Perturb
from victims.measures.base import MeasuredVictim
from victims.meter import Meter
from victims.oracle import BudgetedOracle
from victims.teachers import TeacherEnsemble, TeacherSettings, build_teacher, train_teachers
from victims.types import Oracle
from victims.victim import build_victim, make_victim

log = logging.getLogger(__name__)

HONEST_IMAGES = 2000
"""Test images that honest users are simulated from, at most."""

OnRound = Callable[[list[RoundResult], pd.DataFrame], None]


@dataclass(frozen=True, eq=False)
class ServedVictim:
    """A victim that stands ready: its network, its accuracy on the test images, its key in the store."""

    network: nn.Module
    accuracy: float
    key: str


@dataclass(frozen=True, eq=False)
class FinishedExtraction:
    """What an extraction left: a row a round, a row a query, and the trace's file and key in the store."""

    rounds: list[RoundResult]
    trace: pd.DataFrame
    trace_path: Path
    key: str


class Stages:
    """The stages of one cell. Each looks into the store first."""

    def __init__(self, cell: Cell, store: Store) -> None:
        self.cell = cell
        self.store = store
        self.teacher_key: str | None = None
        self._meter: Meter | None = None
        self._votes: RememberedVotes | None = None

    def victim(self) -> ServedVictim:
        """The trained victim."""
        cell = self.cell

        def make(directory: Path) -> None:
            started = time.perf_counter()
            log.info("training the victim on %d images", len(cell.data.train))
            network = make_victim(cell.victim, cell.data.train, cell.hardware)
            right = score(network, cell.data.test, cell)
            log.info("victim: accuracy %.2f %% on %d test images", 100 * right, len(cell.data.test))
            torch.save(network.state_dict(), directory / "weights.pt")
            seconds = time.perf_counter() - started
            write_json(directory / "result.json", {"accuracy": right, "seconds": seconds})

        entry = self.store.get("victims", cell.identity.victim, make)
        network = build_victim(cell.victim, cell.data.train)
        network.load_state_dict(torch.load(entry.path / "weights.pt", weights_only=True))
        network = cell.hardware.place(network).eval()
        return ServedVictim(network, _read_json(entry.path)["accuracy"], entry.key)

    def teachers(self, settings: TeacherSettings) -> RememberedVotes:
        """The PATE teachers, who are asked once about each image of a data set."""
        cell = self.cell

        def make(directory: Path) -> None:
            started = time.perf_counter()
            log.info("training %d teachers, %d at a time", settings.count, settings.at_once)
            ensemble = train_teachers(settings, cell.data.train, cell.hardware)
            torch.save(
                {name: values.cpu() for name, values in ensemble.state.items()}, directory / "weights.pt"
            )
            result = _teacher_accuracy(ensemble, cell.data.test)
            log.info(
                "teachers: mean accuracy %.2f %%, ensemble %.2f %%",
                100 * result["mean_accuracy"],
                100 * result["ensemble_accuracy"],
            )
            result["seconds"] = time.perf_counter() - started
            write_json(directory / "result.json", result)

        identity = cell.identity.teachers
        assert identity is not None, "teachers are asked for by the measure that configures them"
        entry = self.store.get("teachers", identity, make)
        self.teacher_key = entry.key
        state = torch.load(entry.path / "weights.pt", weights_only=True)
        skeleton = build_teacher(settings, cell.data.train)
        ensemble = TeacherEnsemble(skeleton, state, cell.data.train.num_classes, cell.hardware)
        self._votes = RememberedVotes(ensemble, self.store.root / "votes" / entry.key)
        return self._votes

    def keep_votes(self) -> None:
        """Put the votes counted so far into the store."""
        if self._votes is not None:
            self._votes.save()

    def meter(self, victim: ServedVictim) -> Meter:
        """The meter of the victim, with every configured measure; built once a cell."""
        if self._meter is None:
            cell = self.cell
            measured = MeasuredVictim(victim.network, cell.data.train, cell.hardware, self.teachers)
            self._meter = Meter({name: make(measured) for name, make in cell.measures.items()})
        return self._meter

    def perturbations(self, victim: ServedVictim) -> list[Perturb]:
        """What changes the victim's answers, in the stack's order."""
        return bind_perturbations(self.cell, self.store, victim.network, self.cell.config["seed"])

    def honest(self, victim: ServedVictim) -> pd.DataFrame:
        """What simulated honest users draw from: a row a test image, and one for each lightly corrupted.

        Columns: the measures', `label` (the true class) and `corrupted`.
        """

        def make(directory: Path) -> None:
            test, seed = self.cell.data.test, self.cell.config["seed"]
            random = generator(seed, "honest")
            order = honest_sample(test, random)
            log.info("measuring honest users' costs on %d test images, clean and corrupted", len(order))
            parts = []
            for corrupted in (False, True):
                corruption = random if corrupted else None
                priced = self._price(victim, test.images[order], corruption)
                labels = test.labels[order].cpu().numpy()
                parts.append(priced.assign(label=labels, corrupted=corrupted))
            pd.concat(parts, ignore_index=True).to_parquet(directory / "trace.parquet")
            self.keep_votes()

        return pd.read_parquet(
            self.store.get("honest", self.cell.identity.honest, make).path / "trace.parquet"
        )

    def _price(
        self, victim: ServedVictim, images: torch.Tensor, corruption: torch.Generator | None = None
    ) -> pd.DataFrame:
        """Each measure's columns, a row an image uint8 `[n, c, h, w]`."""
        hardware, meter = self.cell.hardware, self.meter(victim)
        parts = []
        for part in images.split(hardware.batch_size):
            batch = to_float(part.to(hardware.device))
            if corruption is not None:
                batch = lightly_corrupted(batch, corruption)
            log_probs = predict_logits(victim.network, batch, hardware).log_softmax(1)
            costs = meter.costs(batch, log_probs)
            parts.append(pd.DataFrame({name: values.cpu().numpy() for name, values in costs.items()}))
        return pd.concat(parts, ignore_index=True)

    def extraction(self, victim: ServedVictim, on_round: OnRound) -> FinishedExtraction:
        """The attack's trace and the substitute's worth after each round.

        `on_round` is called with the rounds and the trace so far: after each round that this call runs,
        and once for an extraction that is resumed.
        """
        cell = self.cell

        def make(directory: Path) -> None:
            self._extract(victim, directory, on_round)

        entry = self.store.get("extractions", cell.identity.extraction, make, resumable=True)
        if not entry.made:
            log.info("extraction %s is in the store", entry.key)
        rounds = [RoundResult(**row) for row in _read_json(entry.path)["rounds"]]
        trace_path = entry.path / "trace.parquet"
        return FinishedExtraction(rounds, pd.read_parquet(trace_path), trace_path, entry.key)

    def _extract(self, victim: ServedVictim, directory: Path, on_round: OnRound) -> None:
        cell = self.cell
        journal = Journal(directory / "journal")
        checkpoint = directory / "checkpoint.pt"
        if journal.drop_damaged():
            checkpoint.unlink(missing_ok=True)
        extraction = Extraction(
            cell.attack,
            cell.pool,
            cell.data.train.num_classes,
            cell.substitute,
            cell.settings,
            cell.hardware,
            checkpoint,
            cell.other_pool,
            self._costs(victim) if cell.knows_cost else None,
            imagined_defense(cell, self.store, victim.network) if cell.knows_defense else None,
        )
        if extraction.rounds:
            log.info("resuming after round %d (%d queries)", len(extraction.rounds), extraction.queries)
            on_round(extraction.rounds, journal.trace())

        def after_round(result: RoundResult) -> None:
            self.keep_votes()
            on_round(extraction.rounds, journal.trace())

        try:
            oracle = self._oracle(victim, journal, next_round=len(extraction.rounds) + 1)
            substitute = extraction.run(oracle, self._evaluation(victim), after_round)
        except (WrongServer, Refused, NothingAnswered) as error:
            raise InputError(str(error)) from error
        torch.save(substitute.state_dict(), directory / "substitute.pt")
        trace = journal.trace()
        write_atomically(directory / "trace.parquet", lambda path: trace.to_parquet(path))
        write_json(directory / "result.json", {"rounds": [asdict(result) for result in extraction.rounds]})
        checkpoint.unlink(missing_ok=True)
        shutil.rmtree(journal.directory)

    def _costs(self, victim: ServedVictim) -> CostOracle:
        """The defender's own cost, for an attack that is said to know it."""
        meter, hardware = self.meter(victim), self.cell.hardware

        def costs(images: Tensor) -> dict[str, Tensor]:
            log_probs = predict_logits(victim.network, images, hardware).log_softmax(1)
            columns = meter.costs(images, log_probs)
            return {name: columns[f"cost_{name}"] for name in meter.measures}

        return costs

    def _oracle(self, victim: ServedVictim, journal: Journal, next_round: int) -> Oracle:
        cell, meter = self.cell, self.meter(victim)
        oracle = victim_oracle(cell, victim.network, meter, self.perturbations(victim))
        watch = cell.stack.watching.watch() if cell.stack.watching else None
        journaled = JournaledOracle(oracle, meter, journal, cell.hardware.device, watch, next_round)
        return BudgetedOracle(journaled, cell.settings.budget, spent=journal.queries_before(next_round))

    def _evaluation(self, victim: ServedVictim) -> Evaluation:
        test = self.cell.data.test
        labels = predict_logits(victim.network, test.images, self.cell.hardware).argmax(1)
        return Evaluation(test.images, test.labels, labels)


def honest_sample(test: ImageSet, random: torch.Generator) -> Tensor:
    """Numbers of the test images that honest users ask about, in random order, int64 `[n]`."""
    return torch.randperm(len(test.images), generator=random)[:HONEST_IMAGES]


def clean_rows(honest: pd.DataFrame) -> pd.DataFrame:
    """What honest users' images cost without corruption, a row an image."""
    return honest[~honest["corrupted"]].reset_index(drop=True)


def score(network: nn.Module, images: ImageSet, cell: Cell) -> float:
    """Accuracy of a network on labelled images."""
    return accuracy(predict_logits(network, images.images, cell.hardware), images.labels)


def _teacher_accuracy(ensemble: TeacherEnsemble, test: ImageSet) -> Config:
    """Mean accuracy of the teachers and accuracy of their majority, on at most 1,000 test images."""
    few = test.select(slice(0, 1000))
    predictions = ensemble.predictions(few.images)
    labels = few.labels.to(predictions.device)
    majority: Tensor = predictions.mode(dim=0).values
    return {
        "mean_accuracy": float((predictions == labels).double().mean()),
        "ensemble_accuracy": float((majority == labels).double().mean()),
    }


def _read_json(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return content
