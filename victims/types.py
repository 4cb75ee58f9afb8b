"""What passes between the side that steals and the side that is stolen from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

AnswerKind = Literal["soft", "topk", "hard"]


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """Images float32 in [0, 1] `[n, c, h, w]`, the account that asks, and the attack's round (from 1).

    `first` is how many queries were answered before these; whoever counts the budget sets it.
    """

    images: Tensor
    account: int = 0
    round: int = 1
    first: int = 0

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Answer:
    """Probabilities float32 `[n, classes]`, or labels int64 `[n]` where the interface gives no more."""

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
    """All that an attack gets of a victim. Every image asked is one query."""

    def query(self, batch: QueryBatch) -> Answer:
        """Answer each image of the batch; raises BudgetExhausted rather than answer one too many.

        Raises AccountBlocked for an account that a defense does not answer any more.
        """
        ...


class BudgetExhausted(Exception):
    """The query budget does not cover the batch; `remaining` images of it could still be asked."""

    def __init__(self, budget: int, remaining: int) -> None:
        super().__init__(f"attack.budget={budget} leaves {remaining} queries, and the batch has more")
        self.remaining = remaining


class AccountBlocked(Exception):
    """The account gets no further answer; `answer` holds those to the batch's first queries, if to any."""

    def __init__(self, account: int, answer: Answer | None) -> None:
        super().__init__(f"account {account} is blocked")
        self.answer = answer

    @property
    def answered(self) -> int:
        """How many of the batch's queries were answered."""
        return 0 if self.answer is None else len(self.answer)


class PriceTooHigh(Exception):
    """A server asks for more work than the attacker is willing to do; what was answered stands."""
