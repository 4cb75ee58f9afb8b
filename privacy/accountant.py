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

    def cumulative(self, log_q: Array) -> Tensor:
        """Cost of each query together with all before it, float64 `[n]`, for `log_q` `[n]` as asked."""
        return Accountant(self).add(log_q)


class Accountant:
    """What one account's queries have revealed so far, in constant memory."""

    def __init__(self, accounting: Accounting) -> None:
        self.accounting = accounting
        self.queries = 0
        self._spent = torch.zeros(1 if accounting.how == "summed" else len(ORDERS), dtype=torch.float64)

    @property
    def cost(self) -> float:
        """Epsilon of all queries so far; 0 before the first."""
        return float(self._costs(self._spent[None])) if self.queries else 0.0

    def add(self, log_q: Array) -> Tensor:
        """Account for queries with `log_q` `[n]`; the cost so far after each of them, float64 `[n]`."""
        values = torch.as_tensor(log_q).to(torch.float64)
        self._spent = self._spent.to(values.device)
        costs = torch.empty_like(values)  # small results among large temporaries would fragment memory
        for block, paid in zip(blocks(values), blocks(costs), strict=True):
            running = self._spent + self._revealed(block).cumsum(0)
            paid.copy_(self._costs(running))
            if len(block):
                self._spent.copy_(running[-1])
        self.queries += len(values)
        return costs

    def _revealed(self, log_q: Tensor) -> Tensor:
        """What adds up: each query's epsilon `[n, 1]`, or its RDP `[n, orders]`."""
        rule = self.accounting
        each = rdp(log_q, rule.sigma, ORDERS, rule.bound)
        return epsilon(each, ORDERS, rule.delta, rule.conversion)[:, None] if rule.how == "summed" else each

    def _costs(self, running: Tensor) -> Tensor:
        """Epsilon `[n]` of running totals."""
        rule = self.accounting
        if rule.how == "summed":
            return running[:, 0]
        return epsilon(running, ORDERS, rule.delta, rule.conversion)
