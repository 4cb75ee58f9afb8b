"""An accountant adds up what an account's queries reveal and gives one epsilon for the total."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from privacy.gnmax import ORDERS, Array, Bound, Conversion, blocks, check_choice, epsilon, rdp

HowCostsAdd = Literal["summed", "composed"]


@dataclass(frozen=True)
class Accounting:
    """The rule by which the costs of queries, answered with Gaussian noise, add up.

    Args:
        sigma: Scale of the noise on each vote count, above 0.
        delta: Delta of (epsilon, delta)-differential privacy, between 0 and 1.
        how: "summed" adds up each query's own epsilon, as the paper does. "composed" adds up RDP order by
            order (Mironov 2017, Proposition 1) and converts the total to one epsilon.
        bound: Bound on the RDP of one query; see `gnmax.rdp`.
        conversion: Conversion from RDP to epsilon; see `gnmax.epsilon`.

    Raises:
        ValueError: `how`, `bound` or `conversion` is not a valid word.
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
        """Whether this is the paper's rule: summed epsilons, by its bound and conversion."""
        return self == Accounting(self.sigma, self.delta)

    @property
    def width(self) -> int:
        """Numbers per query that add up: 1 for epsilon, or one for each RDP order."""
        return 1 if self.how == "summed" else len(ORDERS)

    def revealed(self, log_q: Tensor) -> Tensor:
        """Return what adds up, float64 `[n, width]`: each query's epsilon, or its RDP at all orders."""
        each = rdp(log_q, self.sigma, ORDERS, self.bound)
        return epsilon(each, ORDERS, self.delta, self.conversion)[:, None] if self.how == "summed" else each

    def costs(self, totals: Tensor) -> Tensor:
        """Convert sums of `revealed`, `[n, width]`, to epsilon, float64 `[n]`."""
        return totals[:, 0] if self.how == "summed" else epsilon(totals, ORDERS, self.delta, self.conversion)

    def cumulative(self, log_q: Array) -> Tensor:
        """Return the cost of each query and all before it, float64 `[n]`, for `log_q` `[n]` in order."""
        return Accountant(self).add(log_q)


class Accountant:
    """Keeps, in constant memory, the sum of what one account's queries have revealed."""

    def __init__(self, accounting: Accounting) -> None:
        self.accounting = accounting
        self.queries = 0
        self._spent = torch.zeros(accounting.width, dtype=torch.float64)

    @property
    def cost(self) -> float:
        """Epsilon of all queries so far; 0 before the first."""
        return float(self.accounting.costs(self._spent[None])) if self.queries else 0.0

    def add(self, log_q: Array) -> Tensor:
        """Add queries with `log_q` `[n]` and return the total cost after each of them, float64 `[n]`."""
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
