"""The extraction loop: each round chooses queries, asks, trains, scores, and writes a checkpoint."""

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
from extraction.checkpoint import Checkpoint, RoundResult, load_checkpoint, packed
from extraction.recovery import Bayes, Ddae, Denoise, FirstAnswer, Imagine, Recovery
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transfer_set import TransferSet
from training.fit import predict_logits
from training.recipe import Hardware
from training.seeds import seeded
from victims.architectures.build import build_network
from victims.datasets.images import ImageSet
from victims.types import AccountBlocked, Answer, BudgetExhausted, Oracle, PriceTooHigh, QueryBatch


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Test images by which a substitute is scored.

    Attributes:
        images: Uint8, or float32 in [0, 1], `[n, c, h, w]`.
        truth: True labels, int64 `[n]`.
        victim: Labels that the victim gives, int64 `[n]`.
    """

    images: Tensor
    truth: Tensor
    victim: Tensor

    def score(self, substitute: nn.Module, hardware: Hardware) -> tuple[Tensor, Tensor]:
        """Return whether a substitute agrees with the truth, and with the victim: bool `[n]` each."""
        labels = predict_logits(substitute, self.images, hardware).argmax(1).cpu()
        return labels == self.truth.cpu(), labels == self.victim.cpu()


class NothingAnswered(Exception):
    """The extraction got no answer, so there is nothing to train a substitute on."""


class RoundOracle:
    """The `Ask` of one round: splits each batch evenly over the accounts and keeps the answers.

    Attributes:
        queries: Queries answered in this round.
        seconds: Measured seconds spent waiting for answers in this round.
    """

    def __init__(self, oracle: Oracle, extraction: Extraction, round: int) -> None:
        self.oracle = oracle
        self.extraction = extraction
        self.round = round
        self.queries = 0
        self.seconds = 0.0

    def __call__(self, images: Tensor) -> Answer:
        """Ask about images float32 in [0, 1] `[n, c, h, w]` and return their answers (see Ask).

        Raises:
            AccountBlocked: An account was refused; raised after all other accounts have asked theirs.
        """
        started = time.perf_counter()
        refusals = []
        answers = []
        try:
            for account, share in self._shares(images):
                try:
                    answers.append(self._ask_from(account, share))
                except AccountBlocked as blocked:
                    self.extraction.blocked.append(account)
                    refusals.append(blocked)
        finally:
            self.seconds += time.perf_counter() - started
        if refusals:
            raise refusals[0]
        return Answer(torch.cat(answers))

    def _shares(self, images: Tensor) -> list[tuple[int, Tensor]]:
        """Return the active accounts with the images that each asks about; no share is empty."""
        active = self.extraction.active_accounts
        shares = images.tensor_split(len(active))
        return [(account, share) for account, share in zip(active, shares, strict=True) if len(share)]

    def _ask_from(self, account: int, images: Tensor) -> Tensor:
        """Ask about each image `repeats` times from one account; what was answered before a block is kept."""
        queries = images.repeat_interleave(self.extraction.settings.repeats, 0)
        try:
            answer = self.oracle.query(QueryBatch(queries, account, self.round))
        except AccountBlocked as blocked:
            if blocked.answer is not None:
                self._keep(images, blocked.answer)
            raise
        return self._keep(images, answer)

    def _keep(self, images: Tensor, answer: Answer) -> Tensor:
        """Count the answers, recover one for each image that got all its repeats, and return those."""
        extraction, repeats = self.extraction, self.extraction.settings.repeats
        self.queries += len(answer)
        complete = len(answer) // repeats
        answers = Answer(answer.values[: complete * repeats])
        recovered = extraction.recovery(answers, repeats) if complete else answers
        if extraction.attack.keeps_transfer_set and complete:
            extraction.transfer_set = extraction.transfer_set.add(images[:complete], recovered)
        return recovered.values


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use so far: of a GPU's memory, else of this process (victim included)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class Extraction:
    """One attack on one oracle; it resumes from `checkpoint_path` if a checkpoint lies there.

    Args:
        attack: What chooses the queries and trains on the answers.
        pool: The attacker's own images.
        num_classes: Classes of the victim; public, as the images' shape is: a service states both.
        substitute: Architecture and recipe of the substitute.
        settings: Budget, rounds, accounts, seed.
        hardware: Where networks run.
        checkpoint_path: File of the checkpoint, written after every round.
        other_pool: A second pool, for attacks that use one (`attack.other_pool`).
        costs: The defender's own costs, for attacks that know them (`attack.knows: [cost]`).
        imagine: The victim's defense, for an attacker that knows it (`attack.knows: [defense]`, see Bayes).

    Raises:
        ValueError: `recover` is bayes or ddae, and `imagine` is missing.
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
        """Return the recovery that the settings name."""
        match self.settings.recover:
            case "none":
                return FirstAnswer()
            case "denoise":
                return Denoise()
            case "bayes" | "ddae" as name:
                if imagine is None:
                    raise ValueError(f"attack.knows must name defense for attack.recover={name}")
                known = (imagine, self.pool, self.num_classes, self.hardware, self.settings.seed)
                if name == "bayes":
                    return Bayes(*known)
                return Ddae(*known, self.substitute_settings.architecture)

    def _resume(self) -> None:
        """Take over the state of the checkpoint, if there is one."""
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
        """Number of queries asked in the finished rounds."""
        return self.rounds[-1].queries if self.rounds else 0

    @property
    def active_accounts(self) -> list[int]:
        """The accounts that the victim still answers."""
        return [account for account in range(self.settings.accounts) if account not in self.blocked]

    def run(
        self,
        oracle: Oracle,
        evaluation: Evaluation,
        on_round: Callable[[RoundResult], None] = lambda result: None,
    ) -> nn.Module:
        """Run rounds until the budget is spent or every account is blocked.

        Args:
            oracle: The victim; it may refuse.
            evaluation: What each round's substitute is scored by.
            on_round: Called with the result of each new round, after its checkpoint is written.

        Returns:
            The substitute of the last round, in evaluation mode.

        Raises:
            NothingAnswered: The first round got no answer.
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
        """Ask, train and score once; return None if the round got no answer to learn from."""
        number, started = len(self.rounds) + 1, time.perf_counter()
        asking = RoundOracle(oracle, self, number)
        student = self._student(number)
        self._ask(asking, student)
        if asking.queries == 0 or (self.attack.keeps_transfer_set and not len(self.transfer_set)):
            return None
        self.attack.train(self._attacker(number, student), student, self.substitute_settings.recipe)
        self.substitute = student.eval()
        train_time = time.perf_counter() - started - asking.seconds
        right, agrees = evaluation.score(self.substitute, self.hardware)
        return RoundResult(
            round=number,
            queries=self.queries + asking.queries,
            accuracy=float(right.double().mean()),
            fidelity=float(agrees.double().mean()),
            query_time=asking.seconds,
            train_time=train_time,
            peak_memory=peak_memory(self.hardware.device),
            right=packed(right),
            agrees=packed(agrees),
        )

    def _ask(self, asking: RoundOracle, student: nn.Module) -> None:
        """Let the attack ask a round's queries; a refusal ends the round, and its answers so far stand."""
        left = self.settings.budget - self.queries
        images = min(self.settings.round_size, left) // self.settings.repeats
        if images == 0:
            return
        with contextlib.suppress(BudgetExhausted, PriceTooHigh, AccountBlocked):
            self.attack.run_round(self._attacker(asking.round, student), asking, images)

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
        """Return the network that a round trains: the last substitute under `warm_start`, else a new one."""
        if self.settings.warm_start and self.substitute is not None:
            return self.substitute
        return self.hardware.place(self._new_substitute(number))

    def _new_substitute(self, round: int) -> nn.Module:
        """Build the untrained substitute of a round."""
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
