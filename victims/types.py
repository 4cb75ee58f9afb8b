"""What passes between attacker and victim: queries, answers, and the reasons for none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

AnswerKind = Literal["soft", "topk", "hard"]


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """Images to ask about together; each is one query.

    Attributes:
        images: Float32 in [0, 1], `[n, c, h, w]`.
        account: Number of the account that asks.
        round: Round of the attack, from 1.
        first: How many queries were answered before these; the oracle that counts the budget sets it.
    """

    images: Tensor
    account: int = 0
    round: int = 1
    first: int = 0

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Answer:
    """The victim's answers to a batch.

    Attributes:
        values: Probabilities float32 `[n, classes]`, or labels int64 `[n]` if the interface gives labels.

    Raises:
        ValueError: The values are neither.
    """

    values: Tensor

    def __post_init__(self) -> None:
        hard = self.values.dtype == torch.int64 and self.values.dim() == 1
        soft = self.values.dtype == torch.float32 and self.values.dim() == 2
        if not (hard or soft):
            raise ValueError(
                "an answer is probabilities float32 [n, classes] or labels int64 [n], not "
                f"{self.values.dtype} {tuple(self.values.shape)}"
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def labels(self) -> Tensor:
        """The answered classes, int64 `[n]`."""
        return self.values if self.values.dim() == 1 else self.values.argmax(1)


class Oracle(Protocol):
    """All that an attack sees of a victim."""

    def query(self, batch: QueryBatch) -> Answer:
        """Answer each image of the batch.

        Raises:
            BudgetExhausted: The budget does not cover the whole batch.
            AccountBlocked: A defense answers this account no more.
            PriceTooHigh: The answer costs more work than the client is willing to do.
        """
        ...


class BudgetExhausted(Exception):
    """The query budget does not cover the batch, but `remaining` images of it."""

    def __init__(self, budget: int, remaining: int) -> None:
        super().__init__(f"attack.budget={budget} leaves {remaining} queries, and the batch has more")
        self.remaining = remaining


class AccountBlocked(Exception):
    """The account is blocked; `answer` holds what the batch's first queries were answered, if any were."""

    def __init__(self, account: int, answer: Answer | None) -> None:
        super().__init__(f"account {account} is blocked")
        self.answer = answer

    @property
    def answered(self) -> int:
        """Number of the batch's queries that were answered."""
        return 0 if self.answer is None else len(self.answer)


class PriceTooHigh(Exception):
    """A server asks for more work than the attacker is willing to do; earlier answers stand."""
