"""Random histograms against 50-digit arithmetic, and distances that float32 products would lose."""

from __future__ import annotations

from collections import Counter

import mpmath
import numpy as np
import pytest
import torch

from privacy import gnmax, pknn

ORDERS = torch.tensor([2, 2.5, 7, 20.5, 99.5, 333, 1000], dtype=torch.float64)


def exact_log_q(votes: list[int], sigma: float) -> mpmath.mpf:
    """Proposition 7 as Pr[N(0, 2 sigma^2) < -gap], equal gaps taken together."""
    gaps = Counter(max(votes) - count for count in votes)
    gaps[0] -= 1
    q = sum(n * mpmath.ncdf(-gap / (mpmath.sqrt(2) * mpmath.mpf(sigma))) for gap, n in gaps.items())
    return mpmath.log(min(q, 1 - mpmath.mpf(1) / len(votes)))


def exact_rdp(log_q: float, sigma: float, order: float) -> mpmath.mpf:
    """Theorem 6 at the orders of Proposition 10 under its conditions, else order / sigma^2."""
    q, s2 = mpmath.exp(log_q), mpmath.mpf(sigma) ** 2
    m2 = mpmath.sqrt(-s2 * mpmath.mpf(log_q))
    m1 = m2 + 1
    if not (m2 > 1 and order < m1 and mpmath.exp(m2 / s2) * q < 1):
        return order / s2
    if q * (m1 / m2 * m2 / (m2 - 1)) ** m2 > mpmath.exp((m2 - 1) * m2 / s2):
        return order / s2
    a = (1 - q) / (1 - (q * mpmath.exp(m2 / s2)) ** ((m2 - 1) / m2))
    b = mpmath.exp(m1 / s2) / q ** (1 / (m1 - 1))
    return mpmath.log((1 - q) * a ** (order - 1) + q * b ** (order - 1)) / (order - 1)


def random_histogram(random: np.random.Generator) -> tuple[list[int], float]:
    classes = int(random.choice([2, 3, 10, 100, 1000]))
    votes = random.integers(0, 50, classes)
    votes[random.integers(classes)] = 50 + int(np.exp(random.uniform(0, np.log(9_950)))) - 1
    return votes.tolist(), float(np.exp(random.uniform(np.log(0.5), np.log(100))))


def test_random_histograms_are_exact() -> None:
    random = np.random.default_rng(0)
    dependent = 0
    for _ in range(150):
        votes, sigma = random_histogram(random)
        log_q = float(gnmax.log_q(np.array([votes]), sigma))
        with mpmath.workdps(50):
            assert log_q == pytest.approx(float(exact_log_q(votes, sigma)), rel=1e-9)
        if -log_q > 700:
            continue  # q is below the smallest double
        # Digits enough for 1 - q, and for the differences from it that the bound is made of.
        with mpmath.workdps(60 + int(-3 * log_q / 2.3)):
            expected = [float(exact_rdp(log_q, sigma, order)) for order in ORDERS.tolist()]
        rdp = gnmax.rdp(np.array([log_q]), sigma, ORDERS)[0]
        assert rdp.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-290)
        dependent += int((rdp != ORDERS / sigma**2).sum())
    assert dependent > 200  # the data-dependent bound was what was checked


def test_float32_distances_of_far_log_probabilities_are_exact() -> None:
    """Points near -100 whose distances differ by less than the products' rounding."""
    random = np.random.default_rng(0)
    train = (-100 + random.normal(size=(400, 10)) * 1e-2).astype(np.float32)
    query = (-100 + random.normal(size=(30, 10)) * 1e-2).astype(np.float32)
    labels = random.integers(0, 10, 400)
    distances = ((query[:, None].astype(np.float64) - train[None].astype(np.float64)) ** 2).sum(2)
    expected = np.zeros((30, 10))
    for i, row in enumerate(np.argsort(distances, axis=1)[:, :20]):
        expected[i] = np.bincount(labels[row], minlength=10)
    assert np.array_equal(pknn.neighbour_votes(train, labels, query, 20, 10).numpy(), expected)
    products = (query**2).sum(1)[:, None] + (train**2).sum(1)[None] - 2 * query @ train.T
    assert not np.array_equal(
        np.sort(np.argsort(products, 1)[:, :20]), np.sort(np.argsort(distances, 1)[:, :20])
    )


@pytest.mark.parametrize("train_size", [40, 41, 47, 160, 163, 1000])
@pytest.mark.parametrize("k", [1, 5, 19, 40])
def test_neighbours_found_by_groups_are_the_nearest(train_size: int, k: int) -> None:
    """Sizes that are and are not multiples of a group, with fewer and with more groups than neighbours."""
    random = np.random.default_rng(train_size)
    train, query = random.normal(size=(train_size, 3)), random.normal(size=(25, 3))
    labels = random.integers(0, 6, train_size)
    expected = np.zeros((25, 6))
    for i in range(25):
        nearest = np.argsort(np.linalg.norm(train - query[i], axis=1))[:k]
        expected[i] = np.bincount(labels[nearest], minlength=6)
    assert np.array_equal(pknn.neighbour_votes(train, labels, query, k, 6).numpy(), expected)
