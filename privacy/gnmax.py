"""The Gaussian noisy max of an ensemble's votes and its data-dependent privacy cost.

Papernot et al. 2018, "Scalable Private Learning with PATE": Proposition 7 (q), Proposition 8 (RDP of
GNMax), Theorem 6 (data-dependent bound), Proposition 10 (its two orders).
Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy": Proposition 12.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = Tensor | np.ndarray
Bound = Literal["data_dependent", "data_independent", "tightest"]
Conversion = Literal["classical", "canonne_kamath_steinke"]

ORDERS = torch.from_numpy(np.concatenate([np.arange(2, 100, 0.5), np.geomspace(100, 1000, 200)]))
"""RDP orders 2, 2.5, ..., 99.5 and 200 from 100 to 1000, log-spaced; float64."""

BLOCK = {"cpu": 1024, "cuda": 2**16}
"""Queries whose RDP at all orders is held in memory at a time: on a CPU what its caches hold."""


def _float64(values: Array) -> Tensor:
    return torch.as_tensor(values).to(torch.float64)


def blocks(queries: Tensor) -> tuple[Tensor, ...]:
    """Views of parts of `queries` `[n]`, one at least, whose RDP at all orders fits into memory."""
    return queries.split(BLOCK[queries.device.type])


def _check_sigma(sigma: float) -> None:
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, not {sigma}")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be between 0 and 1, not {delta}")


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise ValueError unless `value` is one of the words of a Literal."""
    if value not in get_args(choices):
        raise ValueError(f"privacy.{name} must be one of {', '.join(get_args(choices))}, not {value!r}")


def log_q(votes: Array, sigma: float) -> Tensor:
    """Natural log of the bound q on Pr[noisy max != plurality], float64 `[n]`, for votes `[n, classes]`.

    Proposition 7: q <= sum over the other classes of erfc((n_max - n_i) / (2 sigma)) / 2; at most
    1 - 1 / classes, since the plurality is the likeliest outcome. Raises ValueError for votes that are
    not two-dimensional with two classes or more.
    """
    _check_sigma(sigma)
    counts = _float64(votes)
    if counts.dim() != 2 or counts.shape[1] < 2:
        raise ValueError(f"votes must be [n, classes] with at least 2 classes, not {tuple(counts.shape)}")
    ordered = counts.sort(dim=1, descending=True).values
    gaps = ordered[:, :1] - ordered[:, 1:]
    # erfc(x) / 2 is the normal distribution's lower tail at -x sqrt(2).
    tails = torch.special.log_ndtr(-gaps / (math.sqrt(2) * sigma))
    return tails.logsumexp(1).clamp_max(math.log1p(-1 / counts.shape[1]))


def rdp(log_q: Array, sigma: float, orders: Array, bound: Bound = "data_dependent") -> Tensor:
    """Renyi differential privacy at each order, float64 `[n, orders]`, of queries with `log_q` `[n]`.

    data_dependent: Theorem 6 wherever it applies, as in the published analysis, and Proposition 8
    elsewhere. data_independent: Proposition 8, order / sigma^2. tightest: the smaller of both, since
    Theorem 6 exceeds Proposition 8 at some orders.
    """
    _check_sigma(sigma)
    check_choice("bound", bound, Bound)
    logq = _float64(log_q)[:, None]
    order = _float64(orders).to(logq.device)[None, :]
    independent = (order / sigma**2).expand(len(logq), -1)
    if bound == "data_independent":
        return independent.clone()
    dependent = _dependent_rdp(logq, sigma, order, independent)
    return torch.minimum(dependent, independent) if bound == "tightest" else dependent


def _dependent_rdp(logq: Tensor, sigma: float, order: Tensor, independent: Tensor) -> Tensor:
    """Theorem 6 with the orders of Proposition 10, mu2 = sigma sqrt(-log q) and mu1 = mu2 + 1, for log q
    `[n, 1]` and orders `[1, orders]`; `independent` `[n, orders]` where it does not apply."""
    mu2 = sigma * (-logq).sqrt()
    mu1 = mu2 + 1
    eps1, eps2 = mu1 / sigma**2, mu2 / sigma**2
    log_limit = (mu2 - 1) * eps2 - mu2 * (torch.log1p(1 / (mu1 - 1)) + torch.log1p(1 / (mu2 - 1)))
    applies = (mu2 > 1) & (mu1 > order) & (logq <= log_limit) & (-logq > eps2)
    # Rows where the theorem does not apply get harmless stand-ins, so that no NaN arises.
    use = applies.any(1, keepdim=True)
    logq = logq.where(use, torch.full_like(logq, -1e3))
    mu2 = mu2.where(use, torch.full_like(mu2, 2.0))
    mu1 = mu2 + 1
    eps1, eps2 = mu1 / sigma**2, mu2 / sigma**2
    log_not_q = torch.log1p(-logq.exp())
    log_a = log_not_q - torch.log1p(-((logq + eps2) * (mu2 - 1) / mu2).exp())
    log_b = eps1 - logq / (mu1 - 1)
    first = log_not_q + (order - 1) * log_a
    second = logq + (order - 1) * log_b
    # (1-q) A^(order-1) is close to 1 and q B^(order-1) may be 1e-60: log1p and expm1 keep their digits.
    small = torch.log1p(first.clamp_max(1).expm1() + second.clamp_max(1).exp())
    total = torch.where(torch.maximum(first, second) < 0.5, small, torch.logaddexp(first, second))
    dependent = total / (order - 1)
    return torch.where(applies, dependent, independent)


def epsilon(rdp: Array, orders: Array, delta: float, conversion: Conversion = "classical") -> Tensor:
    """Epsilon at `delta` of RDP `[..., orders]`: the least over the orders, float64 `[...]`.

    classical: rdp + log(1/delta) / (order-1) (Mironov 2017, Proposition 3), the paper's.
    canonne_kamath_steinke: rdp + log((order-1)/order) - (log delta + log order) / (order-1) (2020,
    Proposition 12), never larger, and at least 0.
    """
    _check_delta(delta)
    check_choice("conversion", conversion, Conversion)
    values = _float64(rdp)
    order = _float64(orders).to(values.device)
    if conversion == "classical":
        return (values - math.log(delta) / (order - 1)).amin(-1)
    paid = torch.log1p(-1 / order) - (math.log(delta) + order.log()) / (order - 1)
    return (values + paid).amin(-1).clamp_min(0)


def query_epsilon_from_log_q(log_q: Array, sigma: float, delta: float) -> Tensor:
    """Epsilon of each query alone at `delta`, float64 `[n]`, in blocks of constant memory."""
    _check_delta(delta)
    values = _float64(log_q)
    costs = torch.empty_like(values)
    for block, cost in zip(blocks(values), blocks(costs), strict=True):
        cost.copy_(epsilon(rdp(block, sigma, ORDERS), ORDERS, delta))
    return costs


def query_epsilon(votes: Array, sigma: float, delta: float) -> Tensor:
    """Epsilon of each query alone at `delta`, float64 `[n]`, for votes `[n, classes]`."""
    return query_epsilon_from_log_q(log_q(votes, sigma), sigma, delta)
