"""Adding up what queries reveal."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from privacy.gnmax import BLOCK, ORDERS, Array, epsilon, query_epsilon_from_log_q, rdp

Accounting = Literal["summed", "composed"]


def cumulative_epsilon(log_q: Array, sigma: float, delta: float, accounting: Accounting) -> Tensor:
    """Cost of each query together with all before it, float64 `[n]`, for `log_q` `[n]` in the order asked.

    summed: each query's own epsilon, added up (the paper's figures). composed: RDP adds up order by
    order (Mironov 2017, Proposition 1) and one epsilon is taken of the total.
    """
    values = torch.as_tensor(log_q).to(torch.float64)
    if accounting == "summed":
        return query_epsilon_from_log_q(values, sigma, delta).cumsum(0)
    if accounting != "composed":
        raise ValueError(f"accounting must be one of summed, composed, not {accounting!r}")
    total = torch.zeros_like(ORDERS).to(values.device)
    parts = []
    for block in values.split(BLOCK):
        running = total + rdp(block, sigma, ORDERS).cumsum(0)
        parts.append(epsilon(running, ORDERS, delta))
        total = running[-1:]  # a slice: a trace without queries has no last row
    return torch.cat(parts) if parts else values
