"""Privacy cost of GNMax: the class with the most votes after Gaussian noise is added to each count.

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
    """Split `queries` `[n]` into views, at least one, whose RDP at all orders fits into memory."""
    return queries.split(BLOCK[queries.device.type])


def _check_sigma(sigma: float) -> None:
    if not sigma > 0:
        raise ValueError(f"sigma must be above 0, not {sigma}")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be between 0 and 1, not {delta}")


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise ValueError, naming the option, unless `value` is one of the Literal's words."""
    if value not in get_args(choices):
        raise ValueError(f"privacy.{name} must be one of {', '.join(get_args(choices))}, not {value!r}")


def log_q(votes: Array, sigma: float) -> Tensor:
    """Return log q, where q bounds the probability that the noisy max is not the plurality.

    Proposition 7: q <= sum over the other classes of erfc((n_max - n_i) / (2 sigma)) / 2; at most
    1 - 1 / classes, since the plurality is the likeliest outcome.

    Args:
        votes: Vote counts, `[n, classes]`, at least 2 classes.
        sigma: Scale of the noise on each count, above 0.

    Returns:
        Natural logarithms, float64 `[n]`.

    Raises:
        ValueError: `votes` has another shape, or `sigma` is not above 0.
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
    """Bound the Renyi differential privacy (RDP) of each query at each order.

    Args:
        log_q: Natural logarithms from `log_q`, `[n]`.
        sigma: Scale of the noise on each vote count, above 0.
        orders: RDP orders above 1, `[orders]`.
        bound: "data_dependent" is Theorem 6 wherever it applies, and Proposition 8 elsewhere.
            "data_independent" is Proposition 8, order / sigma^2. "tightest" is the smaller of both, since
            Theorem 6 exceeds Proposition 8 at some orders; the published analysis takes it.

    Returns:
        RDP in nats, float64 `[n, orders]`.

    Raises:
        ValueError: `sigma` is not above 0, or `bound` is not a valid word.
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
    """Return Theorem 6's RDP where it applies, else `independent` `[n, orders]`.

    `logq` is `[n, 1]`, `order` `[1, orders]`. The theorem's two orders are those of Proposition 10,
    mu2 = sigma sqrt(-log q) and mu1 = mu2 + 1.
    """
    mu2 = sigma * (-logq).sqrt()
    applies = _theorem_6_applies(logq, mu2, sigma, order)
    # Rows where the theorem does not apply get harmless stand-ins, so that no NaN arises.
    use = applies.any(1, keepdim=True)
    logq = logq.where(use, torch.full_like(logq, -1e3))
    mu2 = mu2.where(use, torch.full_like(mu2, 2.0))
    return torch.where(applies, _theorem_6(logq, mu2, sigma, order), independent)


def _theorem_6_applies(logq: Tensor, mu2: Tensor, sigma: float, order: Tensor) -> Tensor:
    mu1 = mu2 + 1
    eps2 = mu2 / sigma**2
    log_limit = (mu2 - 1) * eps2 - mu2 * (torch.log1p(1 / (mu1 - 1)) + torch.log1p(1 / (mu2 - 1)))
    return (mu2 > 1) & (mu1 > order) & (logq <= log_limit) & (-logq > eps2)


def _theorem_6(logq: Tensor, mu2: Tensor, sigma: float, order: Tensor) -> Tensor:
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
    return total / (order - 1)


def epsilon(rdp: Array, orders: Array, delta: float, conversion: Conversion = "classical") -> Tensor:
    """Convert RDP to epsilon: the least value over the orders.

    Args:
        rdp: RDP in nats, `[..., orders]`.
        orders: RDP orders above 1, `[orders]`.
        delta: Delta of (epsilon, delta)-differential privacy, between 0 and 1.
        conversion: "classical", the paper's: rdp + log(1/delta) / (order-1) (Mironov 2017, Proposition 3).
            "canonne_kamath_steinke": rdp + log((order-1)/order) - (log delta + log order) / (order-1)
            (2020, Proposition 12), never larger, and at least 0.

    Returns:
        Epsilon in nats, float64 `[...]`.

    Raises:
        ValueError: `delta` is out of range, or `conversion` is not a valid word.
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
    """Return the epsilon of each query alone, float64 `[n]`, for `log_q` `[n]`, in constant memory."""
    _check_delta(delta)
    values = _float64(log_q)
    costs = torch.empty_like(values)
    for block, cost in zip(blocks(values), blocks(costs), strict=True):
        cost.copy_(epsilon(rdp(block, sigma, ORDERS), ORDERS, delta))
    return costs


def query_epsilon(votes: Array, sigma: float, delta: float) -> Tensor:
    """Return the epsilon of each query alone, float64 `[n]`, for votes `[n, classes]`."""
    return query_epsilon_from_log_q(log_q(votes, sigma), sigma, delta)
