"""The extraction loop: choose queries, ask, train a substitute, evaluate, checkpoint; round by round."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from extraction.attacks.base import Attack, Thief
from extraction.checkpoint import Checkpoint, RoundResult, load_checkpoint
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transfer_set import TransferSet
from training.fit import accuracy, fit, predict_logits
from training.recipe import Hardware
from training.seeds import derive_seed, seeded
from victims.architectures.build import build_network
from victims.datasets.images import ImageSet
from victims.types import BudgetExhausted, Oracle, QueryBatch


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


class Extraction:
    """One attack on one oracle, resumed from `checkpoint_path` where that holds a checkpoint.

    `num_classes` and the images' shape are public: a service states them.
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
    ) -> None:
        self.attack = attack
        self.pool = pool
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
            raise RuntimeError("the oracle refused the first round, so there is no substitute")
        return self.substitute

    def _run_round(self, oracle: Oracle, evaluation: Evaluation) -> RoundResult | None:
        number = len(self.rounds) + 1
        started = time.perf_counter()
        asked = self._ask(oracle, number)
        if asked == 0:
            return None
        queried = time.perf_counter()
        self.substitute = self._train_substitute(number)
        trained = time.perf_counter()
        right, agreeing = evaluation.score(self.substitute, self.hardware)
        return RoundResult(
            round=number,
            queries=self.queries + asked,
            accuracy=right,
            fidelity=agreeing,
            query_time=queried - started,
            train_time=trained - queried,
        )

    def _ask(self, oracle: Oracle, number: int) -> int:
        """Ask this round's queries, an even share from each account; returns how many were answered."""
        settings = self.settings
        thief = Thief(self.pool, self.transfer_set, self.substitute, number, settings.seed, self.hardware)
        count = min(settings.round_size, settings.budget - self.queries)
        images = self.attack.queries(thief, count)
        before = len(self.transfer_set)
        for account, share in enumerate(images.tensor_split(settings.accounts)):
            if not len(share):
                continue
            try:
                answer = oracle.query(QueryBatch(share, account, number))
            except BudgetExhausted:
                break
            self.transfer_set = self.transfer_set.add(share, answer)
        return len(self.transfer_set) - before

    def _new_substitute(self, round: int) -> nn.Module:
        with seeded(self.settings.seed, "substitute", round):
            return build_network(
                self.substitute_settings.architecture,
                self.pool.image_shape,
                self.num_classes,
                self.pool.images,
            )

    def _train_substitute(self, number: int) -> nn.Module:
        last = self.substitute if self.settings.warm_start else None
        network = last if last is not None else self._new_substitute(number)
        fit(
            network,
            self.transfer_set.images,
            self.transfer_set.targets,
            self.substitute_settings.recipe,
            self.hardware,
            derive_seed(self.settings.seed, "substitute training", number),
        )
        return network

    def _save(self) -> None:
        if self.substitute is None:
            return
        weights = {name: value.detach().cpu() for name, value in self.substitute.state_dict().items()}
        Checkpoint(self.rounds, self.transfer_set, weights, self.attack.state_dict()).save(
            self.checkpoint_path
        )
