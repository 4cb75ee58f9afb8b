"""Random histograms against 50-digit arithmetic, and distances that float32 products would lose."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

from benchmarks.privacy_exactness import KINDS, errors, exact_epsilon, exact_log_q, exact_rdp
from privacy import gnmax, pknn

ORDERS = torch.tensor([2, 2.5, 7, 20.5, 99.5, 333, 1000], dtype=torch.float64)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind == "any" else kind for kind in KINDS]
)
def test_random_histograms_are_exact(kind: str) -> None:
    random = np.random.default_rng(0)
    dependent = 0
    for _ in range(40):
        case = KINDS[kind](random)
        assert max(errors(case, ORDERS).values()) < 1e-9, case
        rdp = gnmax.rdp(gnmax.log_q(np.array([case.votes]), case.sigma), case.sigma, ORDERS)
        dependent += int((rdp != ORDERS / case.sigma**2).sum())
    # The data-dependent bound is what is checked, wherever votes are sure enough for it.
    assert (dependent > 40) == (kind in ("any", "unanimity"))


def test_the_exact_formulas_by_hand() -> None:
    """Two votes apart by sigma: q is erfc(1/2) / 2; order 2 of the Gaussian mechanism is 2 / sigma^2."""
    assert float(exact_log_q([5, 3], 2.0)) == pytest.approx(np.log(0.23975006109347), rel=1e-12)
    assert float(exact_rdp(mpmath.mpf(-0.5), 10.0, 2.0)) == pytest.approx(0.02)
    assert float(exact_epsilon([mpmath.mpf("0.02")], [2.0], 1e-5, "classical")) == pytest.approx(
        0.02 + 5 * np.log(10)
    )


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
