"""The victim as clients see it: an oracle that answers within a query budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from storage.options import check_choice
from training.fit import predict_logits
from training.recipe import Hardware
from victims.answers import limited, perturbed
from victims.defenses.base import Perturb
from victims.meter import Meter
from victims.types import AccountBlocked, Answer, AnswerKind, BudgetExhausted, Oracle, QueryBatch


def check_queries(images: Tensor, image_shape: tuple[int, ...]) -> None:
    """Raise ValueError unless images are float32 `[n, *image_shape]` with values in [0, 1]."""
    if images.dtype != torch.float32 or tuple(images.shape[1:]) != tuple(image_shape):
        raise ValueError(
            f"queries must be float32 [n, {', '.join(map(str, image_shape))}], "
            f"not {images.dtype} {tuple(images.shape)}"
        )
    if len(images) and not (float(images.min()) >= 0 and float(images.max()) <= 1):
        raise ValueError("queries must lie in [0, 1], without NaN")


class VictimOracle:
    """An oracle over a network in this process: it answers every query, and meters it.

    The meter records the network's own answers, not what perturbations make of them.

    Args:
        network: The victim.
        image_shape: Channels, height and width of a query.
        meter: Records what queries reveal.
        hardware: Where the network runs.
        answers: Kind of the answers: `soft`, `topk` or `hard`.
        top_k: Probabilities in a `topk` answer.
        perturbations: What defenses do to answers, in their order.
    """

    def __init__(
        self,
        network: nn.Module,
        image_shape: tuple[int, int, int],
        meter: Meter,
        hardware: Hardware,
        answers: AnswerKind = "soft",
        top_k: int = 3,
        perturbations: Sequence[Perturb] = (),
    ) -> None:
        check_choice("attack.answers", answers, AnswerKind)
        self.network = network
        self.image_shape = image_shape
        self.meter = meter
        self.hardware = hardware
        self.answers = answers
        self.top_k = top_k
        self.perturbations = perturbations

    def query(self, batch: QueryBatch) -> Answer:
        """Answer a batch; raises ValueError for images of another shape, dtype or range."""
        check_queries(batch.images, self.image_shape)
        log_probs = predict_logits(self.network, batch.images, self.hardware).log_softmax(1)
        self.meter.record(batch, log_probs)
        probabilities = perturbed(self.perturbations, batch.images, log_probs.exp(), batch.first)
        return limited(probabilities, self.answers, self.top_k)

    def remind(self, batch: QueryBatch) -> None:
        """Have defenses that remember see a batch that was answered before; nothing is metered."""
        own = predict_logits(self.network, batch.images, self.hardware).log_softmax(1).exp()
        perturbed(self.perturbations, batch.images, own, batch.first)


class BudgetedOracle:
    """Puts a query budget around an oracle.

    Args:
        oracle: The oracle inside.
        budget: Queries that it may answer in all.
        spent: Queries that it has answered already.
    """

    def __init__(self, oracle: Oracle, budget: int, spent: int = 0) -> None:
        self.oracle = oracle
        self.budget = budget
        self.spent = spent

    def query(self, batch: QueryBatch) -> Answer:
        """Answer a batch by the oracle inside.

        Raises:
            BudgetExhausted: The budget does not cover the whole batch; then none of it is answered.
            AccountBlocked: A defense blocked the account; what it answered is charged to the budget.
        """
        if self.spent + len(batch) > self.budget:
            raise BudgetExhausted(self.budget, self.budget - self.spent)
        try:
            answer = self.oracle.query(replace(batch, first=self.spent))
        except AccountBlocked as blocked:
            self.spent += blocked.answered
            raise
        self.spent += len(batch)
        return answer
