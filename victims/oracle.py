"""The victim as its clients see it: answers of the configured kind, within a budget."""

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
    """A network that answers every query, has it metered, and has its answer changed.

    The meter records what the network itself says, whatever its answers are changed to.
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
        """The network's answers, changed by the perturbations, of the kind that the interface gives."""
        check_queries(batch.images, self.image_shape)
        log_probs = predict_logits(self.network, batch.images, self.hardware).log_softmax(1)
        self.meter.record(batch, log_probs)
        probabilities = perturbed(self.perturbations, batch.images, log_probs.exp(), batch.first)
        return limited(probabilities, self.answers, self.top_k)


class BudgetedOracle:
    """Refuses, unanswered, a batch that the remaining budget does not cover."""

    def __init__(self, oracle: Oracle, budget: int, spent: int = 0) -> None:
        self.oracle = oracle
        self.budget = budget
        self.spent = spent

    def query(self, batch: QueryBatch) -> Answer:
        """The inner oracle's answer; raises BudgetExhausted when one image would be over the budget."""
        if self.spent + len(batch) > self.budget:
            raise BudgetExhausted(self.budget, self.budget - self.spent)
        try:
            answer = self.oracle.query(replace(batch, first=self.spent))
        except AccountBlocked as blocked:
            self.spent += blocked.answered
            raise
        self.spent += len(batch)
        return answer
