"""The extraction loop: choose queries, ask, train a substitute, evaluate, checkpoint; round by round."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from extraction.attacks.base import Attack, CostOracle, Thief
from extraction.checkpoint import Checkpoint, RoundResult, load_checkpoint
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transfer_set import TransferSet
from training.fit import accuracy, predict_logits
from training.recipe import Hardware
from training.seeds import seeded
from victims.architectures.build import build_network
from victims.datasets.images import ImageSet
from victims.types import Answer, BudgetExhausted, Oracle, PriceTooHigh, QueryBatch


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Test images with the truth and the victim's labels, int64 `[n]`, to score substitutes by."""

    images: Tensor
    truth: Tensor
    victim: Tensor

    def score(self, substitute: nn.Module, hardware: Hardware) -> tuple[float, float]:
        """Accuracy and fidelity of a substitute, each in [0, 1]."""
        logits = predict_logits(substitute, self.images, hardware)
        return accuracy(logits, self.truth), accuracy(logits, self.victim)


class NothingAnswered(Exception):
    """An extraction has no answer to train a substitute on."""


class RoundOracle:
    """Asks a round's queries, an even share of each batch from each account, and keeps the answers."""

    def __init__(self, oracle: Oracle, extraction: Extraction, round: int) -> None:
        self.oracle = oracle
        self.extraction = extraction
        self.round = round
        self.queries = 0
        self.seconds = 0.0

    def __call__(self, images: Tensor) -> Answer:
        """See Ask."""
        started = time.perf_counter()
        try:
            return Answer(torch.cat([self._share(*share) for share in self._shares(images)]))
        finally:
            self.seconds += time.perf_counter() - started

    def _shares(self, images: Tensor) -> list[tuple[int, Tensor]]:
        """Accounts and what each asks; none asks nothing."""
        shares = images.tensor_split(self.extraction.settings.accounts)
        return [(account, share) for account, share in enumerate(shares) if len(share)]

    def _share(self, account: int, images: Tensor) -> Tensor:
        answer = self.oracle.query(QueryBatch(images, account, self.round))
        self.queries += len(images)
        if self.extraction.attack.keeps_transfer_set:
            self.extraction.transfer_set = self.extraction.transfer_set.add(images, answer)
        return answer.values


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the device for a GPU, else of this process, victim included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Extraction:
    """One attack on one oracle, resumed from `checkpoint_path` where that holds a checkpoint.

    `num_classes` and the images' shape are public: a service states them. `other_pool` and `costs` are for
    attacks that use a second pool or know the defender's cost (see Thief).
    """

    def __init__(
        self,
        attack: Attack,
        pool: ImageSet,
        num_classes: int,
        substitute: SubstituteSettings,
        settings: ExtractionSettings,
        hardware: Hardware,
        checkpoint_path: Path,
        other_pool: ImageSet | None = None,
        costs: CostOracle | None = None,
    ) -> None:
        self.attack = attack
        self.pool = pool
        self.other_pool = other_pool
        self.costs = costs
        self.num_classes = num_classes
        self.substitute_settings = substitute
        self.settings = settings
        self.hardware = hardware
        self.checkpoint_path = checkpoint_path
        self.rounds: list[RoundResult] = []
        self.transfer_set = TransferSet.empty(pool.image_shape, hardware.device)
        self.substitute: nn.Module | None = None
        self._resume()

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.checkpoint_path, self.hardware.device)
        if checkpoint is None:
            return
        self.rounds = checkpoint.rounds
        self.transfer_set = checkpoint.transfer_set
        self.attack.load_state_dict(checkpoint.attack)
        network = self._new_substitute(round=1)
        network.load_state_dict(checkpoint.substitute)
        self.substitute = self.hardware.place(network).eval()

    @property
    def queries(self) -> int:
        """Queries asked in the finished rounds."""
        return self.rounds[-1].queries if self.rounds else 0

    def run(
        self,
        oracle: Oracle,
        evaluation: Evaluation,
        on_round: Callable[[RoundResult], None] = lambda result: None,
    ) -> nn.Module:
        """Extract until the budget is spent; `on_round` hears of each new round. Returns the substitute."""
        while self.queries < self.settings.budget:
            result = self._run_round(oracle, evaluation)
            if result is None:
                break
            self.rounds.append(result)
            self._save()
            on_round(result)
        if self.substitute is None:
            raise NothingAnswered("no query was answered in the first round, so there is no substitute")
        return self.substitute

    def _run_round(self, oracle: Oracle, evaluation: Evaluation) -> RoundResult | None:
        number, started = len(self.rounds) + 1, time.perf_counter()
        asking = RoundOracle(oracle, self, number)
        student = self._student(number)
        count = min(self.settings.round_size, self.settings.budget - self.queries)
        with contextlib.suppress(BudgetExhausted, PriceTooHigh):
            self.attack.run_round(self._thief(number, student), asking, count)
        if asking.queries == 0:
            return None
        self.attack.train(self._thief(number, student), student, self.substitute_settings.recipe)
        self.substitute = student.eval()
        own_time = time.perf_counter() - started - asking.seconds
        right, agreeing = evaluation.score(self.substitute, self.hardware)
        return RoundResult(
            round=number,
            queries=self.queries + asking.queries,
            accuracy=right,
            fidelity=agreeing,
            query_time=asking.seconds,
            train_time=own_time,
            peak_memory=peak_memory(self.hardware.device),
        )

    def _thief(self, number: int, student: nn.Module) -> Thief:
        return Thief(
            self.pool,
            self.transfer_set,
            self.substitute,
            number,
            self.settings.seed,
            self.hardware,
            self.num_classes,
            student,
            self.other_pool,
            self.costs,
        )

    def _student(self, number: int) -> nn.Module:
        """The network that a round trains."""
        if self.settings.warm_start and self.substitute is not None:
            return self.substitute
        return self.hardware.place(self._new_substitute(number))

    def _new_substitute(self, round: int) -> nn.Module:
        with seeded(self.settings.seed, "substitute", round):
            return build_network(
                self.substitute_settings.architecture,
                self.pool.image_shape,
                self.num_classes,
                self.pool.images,
            )

    def _save(self) -> None:
        if self.substitute is None:
            return
        weights = {name: value.detach().cpu() for name, value in self.substitute.state_dict().items()}
        Checkpoint(self.rounds, self.transfer_set, weights, self.attack.state_dict()).save(
            self.checkpoint_path
        )
