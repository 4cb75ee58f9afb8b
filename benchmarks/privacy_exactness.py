"""How far float64 privacy costs are from the published formulas, computed with many digits.

    python -m benchmarks.privacy_exactness [--histograms 200] [--seed 0]

Votes have gaps from 0 to 10,000 and 2 to 1,000 classes, with ties, unanimity and one teacher among them;
sigma is from 0.5 to 100. The formulas are written here as they are printed in the papers that
`privacy.gnmax` names.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mpmath
import numpy as np
from mpmath import mpf
from rich.console import Console
from rich.table import Table
from torch import Tensor

from privacy import gnmax
from privacy.gnmax import Conversion

SMALLEST = 1e-290
"""The least figure that an error is divided by: smaller ones have no precise float64."""

CLASSES = (2, 3, 10, 100, 1000)
SIGMAS, LARGEST_GAP, DELTA = (0.5, 100.0), 10_000, 1e-5


def exact_log_q(votes: Sequence[int], sigma: float) -> mpf:
    """Return log q by Proposition 7; equal gaps are taken together."""
    gaps = Counter(max(votes) - count for count in votes)
    gaps[0] -= 1  # the winner itself
    q = sum(count * mpmath.erfc(gap / (2 * mpf(sigma))) / 2 for gap, count in gaps.items())
    return mpmath.log(min(q, 1 - mpf(1) / len(votes)))


def exact_rdp(log_q: mpf, sigma: float, order: float) -> mpf:
    """Return RDP by Theorem 6 at the orders of Proposition 10, or by Proposition 8 where it does not hold."""
    variance, order, q = mpf(sigma) ** 2, mpf(order), mpmath.exp(log_q)
    mu2 = mpmath.sqrt(variance * -log_q)
    mu1 = mu2 + 1
    eps1, eps2 = mu1 / variance, mu2 / variance
    if not (mu2 > 1 and mu1 > order and eps2 < -log_q):
        return order / variance
    if q > mpmath.exp((mu2 - 1) * eps2) / (mu1 / (mu1 - 1) * mu2 / (mu2 - 1)) ** mu2:
        return order / variance
    a = (1 - q) / (1 - (q * mpmath.exp(eps2)) ** ((mu2 - 1) / mu2))
    b = mpmath.exp(eps1) / q ** (1 / (mu1 - 1))
    return mpmath.log((1 - q) * a ** (order - 1) + q * b ** (order - 1)) / (order - 1)


def exact_epsilon(rdp: Sequence[mpf], orders: Sequence[float], delta: float, conversion: Conversion) -> mpf:
    """Return the least epsilon over the orders.

    The conversion is Mironov's Proposition 3, or Proposition 12 of Canonne, Kamath and Steinke.
    """
    delta = mpf(delta)

    def paid(order: float) -> mpf:
        if conversion == "classical":
            return mpmath.log(1 / delta) / (mpf(order) - 1)
        return mpmath.log((order - 1) / mpf(order)) - mpmath.log(delta * order) / (mpf(order) - 1)

    least = min(cost + paid(order) for cost, order in zip(rdp, orders, strict=True))
    return least if conversion == "classical" else max(least, mpf(0))


def digits(log_q: float) -> int:
    """Return how many digits to compute with, so that 50 are right in any figure above SMALLEST.

    The bound of Theorem 6 contains differences from 1 that may be as small as q.
    """
    return 60 + min(640, int(-1.4 * log_q))


@dataclass
class Case:
    """Votes of teachers for each class, and the scale sigma of the noise."""

    votes: list[int]
    sigma: float


def _sigma(random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(*np.log(SIGMAS))))


def any_votes(random: np.random.Generator) -> Case:
    """Draw a winner that leads by any gap, and any votes for the others."""
    votes = random.integers(0, 50, random.choice(CLASSES))
    gap = int(np.exp(random.uniform(0, np.log(LARGEST_GAP + 1)))) - 1
    votes[random.integers(len(votes))] = votes.max() + gap
    return Case(votes.tolist(), _sigma(random))


def tied_votes(random: np.random.Generator) -> Case:
    """Draw votes in which two classes or more share the first place."""
    votes = random.integers(0, 50, random.choice(CLASSES))
    votes[random.permutation(len(votes))[: random.integers(2, len(votes) + 1)]] = 60
    return Case(votes.tolist(), _sigma(random))


def unanimous_votes(random: np.random.Generator, teachers: int | None = None) -> Case:
    """Draw votes in which all teachers agree."""
    votes = np.zeros(random.choice(CLASSES), dtype=int)
    votes[random.integers(len(votes))] = teachers or random.integers(2, LARGEST_GAP + 1)
    return Case(votes.tolist(), _sigma(random))


def one_teacher(random: np.random.Generator) -> Case:
    """Draw a single vote."""
    return unanimous_votes(random, teachers=1)


KINDS: dict[str, Callable[[np.random.Generator], Case]] = {
    "any": any_votes,
    "ties": tied_votes,
    "unanimity": unanimous_votes,
    "one teacher": one_teacher,
}


def relative_error(ours: float, exact: mpf) -> float:
    """Return the distance divided by the exact figure; infinite for NaN and infinity."""
    if not np.isfinite(ours):
        return np.inf
    return float(abs(mpf(ours) - exact) / max(abs(exact), mpf(SMALLEST)))


def errors(case: Case, at: Tensor = gnmax.ORDERS, delta: float = DELTA) -> dict[str, float]:
    """Return the largest relative errors over the orders: of log q, of RDP given log q, and of epsilon."""
    orders = at.tolist()
    log_q = gnmax.log_q(np.array([case.votes]), case.sigma)
    rdp = gnmax.rdp(log_q, case.sigma, at)
    with mpmath.workdps(digits(float(log_q))):
        exact_q = exact_log_q(case.votes, case.sigma)
        of_ours = [exact_rdp(mpf(float(log_q)), case.sigma, order) for order in orders]
        of_exact = [exact_rdp(exact_q, case.sigma, order) for order in orders]
        found = {
            "log q": relative_error(float(log_q), exact_q),
            "RDP": max(relative_error(*pair) for pair in zip(rdp[0].tolist(), of_ours, strict=True)),
        }
        conversion: Conversion
        for name, conversion in (("epsilon", "classical"), ("epsilon, CKS", "canonne_kamath_steinke")):
            epsilon = float(gnmax.epsilon(rdp, at, delta, conversion))
            found[name] = relative_error(epsilon, exact_epsilon(of_exact, orders, delta, conversion))
    return found


def main() -> None:
    """Draw cases, and print the table of errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--histograms", type=int, default=50, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    table = Table(title=f"Largest relative errors over {options.histograms} histograms of each kind")
    table.add_column("votes")
    for number, (kind, draw) in enumerate(KINDS.items()):
        found = [errors(draw(random)) for _ in range(options.histograms)]
        if number == 0:
            for name in found[0]:
                table.add_column(name, justify="right")
        table.add_row(kind, *(f"{max(case[name] for case in found):.1e}" for name in found[0]))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
