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

from extraction.attacks.base import Attack, Attacker, CostOracle
from extraction.checkpoint import Checkpoint, RoundResult, load_checkpoint
from extraction.recovery import Bayes, Denoise, FirstAnswer, Imagine, Recovery
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transfer_set import TransferSet
from training.fit import accuracy, predict_logits
from training.recipe import Hardware
from training.seeds import seeded
from victims.architectures.build import build_network
from victims.datasets.images import ImageSet
from victims.types import AccountBlocked, Answer, BudgetExhausted, Oracle, PriceTooHigh, QueryBatch


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
        """See Ask. Raises AccountBlocked, once all accounts have asked, where one was not answered."""
        started = time.perf_counter()
        refusals = []
        answers = []
        try:
            for account, share in self._shares(images):
                try:
                    answers.append(self._share(account, share))
                except AccountBlocked as blocked:
                    self.extraction.blocked.append(account)
                    refusals.append(blocked)
        finally:
            self.seconds += time.perf_counter() - started
        if refusals:
            raise refusals[0]
        return Answer(torch.cat(answers))

    def _shares(self, images: Tensor) -> list[tuple[int, Tensor]]:
        """Accounts that are answered and what each asks; none asks nothing."""
        active = self.extraction.active_accounts
        shares = images.tensor_split(len(active))
        return [(account, share) for account, share in zip(active, shares, strict=True) if len(share)]

    def _share(self, account: int, images: Tensor) -> Tensor:
        asked = images.repeat_interleave(self.extraction.settings.repeats, 0)
        try:
            answer = self.oracle.query(QueryBatch(asked, account, self.round))
        except AccountBlocked as blocked:
            if blocked.answer is not None:
                self._keep(images, blocked.answer)
            raise
        return self._keep(images, answer)

    def _keep(self, images: Tensor, answer: Answer) -> Tensor:
        """What is made of the answers, of the images that got all of theirs."""
        extraction, repeats = self.extraction, self.extraction.settings.repeats
        self.queries += len(answer)
        whole = len(answer) // repeats
        told = Answer(answer.values[: whole * repeats])
        recovered = extraction.recovery(told, repeats) if whole else told
        if extraction.attack.keeps_transfer_set and whole:
            extraction.transfer_set = extraction.transfer_set.add(images[:whole], recovered)
        return recovered.values


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the device for a GPU, else of this process, victim included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Extraction:
    """One attack on one oracle, resumed from `checkpoint_path` where that holds a checkpoint.

    `num_classes` and the images' shape are public: a service states them. `other_pool` and `costs` are for
    attacks that use a second pool or know the defender's cost (see Attacker), `imagine` for an attacker that
    knows the defense (see Bayes).
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
        imagine: Imagine | None = None,
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
        self.blocked: list[int] = []
        self.recovery = self._make_recovery(imagine)
        self._resume()

    def _make_recovery(self, imagine: Imagine | None) -> Recovery:
        match self.settings.recover:
            case "none":
                return FirstAnswer()
            case "denoise":
                return Denoise()
            case "bayes":
                if imagine is None:
                    raise ValueError("attack.knows must name defense for attack.recover=bayes")
                return Bayes(imagine, self.pool, self.num_classes, self.hardware, self.settings.seed)

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.checkpoint_path, self.hardware.device)
        if checkpoint is None:
            return
        self.rounds = checkpoint.rounds
        self.transfer_set = checkpoint.transfer_set
        self.blocked = checkpoint.blocked
        self.attack.load_state_dict(checkpoint.attack)
        network = self._new_substitute(round=1)
        network.load_state_dict(checkpoint.substitute)
        self.substitute = self.hardware.place(network).eval()

    @property
    def queries(self) -> int:
        """Queries asked in the finished rounds."""
        return self.rounds[-1].queries if self.rounds else 0

    @property
    def active_accounts(self) -> list[int]:
        """The accounts that are still answered."""
        return [account for account in range(self.settings.accounts) if account not in self.blocked]

    def run(
        self,
        oracle: Oracle,
        evaluation: Evaluation,
        on_round: Callable[[RoundResult], None] = lambda result: None,
    ) -> nn.Module:
        """Extract until the budget is spent, or no account is answered any more; returns the substitute.

        `on_round` hears of each new round.
        """
        while self.queries < self.settings.budget and self.active_accounts:
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
        count = min(self.settings.round_size, self.settings.budget - self.queries) // self.settings.repeats
        if count == 0:
            return None
        with contextlib.suppress(BudgetExhausted, PriceTooHigh, AccountBlocked):
            self.attack.run_round(self._attacker(number, student), asking, count)
        if asking.queries == 0 or (self.attack.keeps_transfer_set and not len(self.transfer_set)):
            return None
        self.attack.train(self._attacker(number, student), student, self.substitute_settings.recipe)
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

    def _attacker(self, number: int, student: nn.Module) -> Attacker:
        return Attacker(
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
        state = self.attack.state_dict()
        Checkpoint(self.rounds, self.transfer_set, weights, state, self.blocked).save(self.checkpoint_path)
