"""Adding up what queries reveal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from privacy.gnmax import ORDERS, Array, Bound, Conversion, blocks, check_choice, epsilon, rdp

HowCostsAdd = Literal["summed", "composed"]


@dataclass(frozen=True)
class Accounting:
    """How the costs of queries answered with Gaussian noise of scale `sigma` add up, at `delta`.

    how: summed, each query's own epsilon added up (the paper's figures); or composed, RDP adds up order by
    order (Mironov 2017, Proposition 1) and one epsilon is taken of the total.
    bound: which bound on a query's RDP (see `gnmax.rdp`). conversion: from RDP to epsilon (see
    `gnmax.epsilon`). Raises ValueError naming what is none of the valid words.
    """

    sigma: float
    delta: float
    how: HowCostsAdd = "summed"
    bound: Bound = "data_dependent"
    conversion: Conversion = "classical"

    def __post_init__(self) -> None:
        check_choice("accounting", self.how, HowCostsAdd)
        check_choice("bound", self.bound, Bound)
        check_choice("conversion", self.conversion, Conversion)

    @property
    def is_the_papers(self) -> bool:
        """Whether each query's own epsilon, by the paper's bound and conversion, is added up."""
        return self == Accounting(self.sigma, self.delta)

    @property
    def width(self) -> int:
        """How many numbers of a query add up."""
        return 1 if self.how == "summed" else len(ORDERS)

    def revealed(self, log_q: Tensor) -> Tensor:
        """What adds up, `[n, width]`: each query's epsilon, or its RDP at all orders."""
        each = rdp(log_q, self.sigma, ORDERS, self.bound)
        return epsilon(each, ORDERS, self.delta, self.conversion)[:, None] if self.how == "summed" else each

    def costs(self, totals: Tensor) -> Tensor:
        """Epsilon `[n]` of sums `[n, width]` of it."""
        return totals[:, 0] if self.how == "summed" else epsilon(totals, ORDERS, self.delta, self.conversion)

    def cumulative(self, log_q: Array) -> Tensor:
        """Cost of each query together with all before it, float64 `[n]`, for `log_q` `[n]` as asked."""
        return Accountant(self).add(log_q)


class Accountant:
    """What one account's queries have revealed so far, in constant memory."""

    def __init__(self, accounting: Accounting) -> None:
        self.accounting = accounting
        self.queries = 0
        self._spent = torch.zeros(accounting.width, dtype=torch.float64)

    @property
    def cost(self) -> float:
        """Epsilon of all queries so far; 0 before the first."""
        return float(self.accounting.costs(self._spent[None])) if self.queries else 0.0

    def add(self, log_q: Array) -> Tensor:
        """Account for queries with `log_q` `[n]`; the cost so far after each of them, float64 `[n]`."""
        values = torch.as_tensor(log_q).to(torch.float64)
        self._spent = self._spent.to(values.device)
        costs = torch.empty_like(values)  # small results among large temporaries would fragment memory
        for block, paid in zip(blocks(values), blocks(costs), strict=True):
            running = self._spent + self.accounting.revealed(block).cumsum(0)
            paid.copy_(self.accounting.costs(running))
            if len(block):
                self._spent.copy_(running[-1])
        self.queries += len(values)
        return costs
