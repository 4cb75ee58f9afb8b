"""Microseconds a query of each privacy measure, against a plain loop over queries in NumPy.

    python -m benchmarks.privacy_costs [--queries 10000] [--train 50000] [--loop 100] [--device cpu]

The loop is what one would write first: a list of orders, `norm` and `argsort`. Both must agree.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.special import erfc
from torch import Tensor

from privacy import gnmax, pknn, uncertainty

CLASSES, NEIGHBOURS, TEACHERS = 10, 300, 250
SIGMA, PKNN_SIGMA, DELTA = 10.0, 28.0, 1e-5

Fast = Callable[[], Tensor]
"""A measure of all queries."""

Slow = Callable[[int], object]
"""The loop's value for one query."""


def loop_epsilon(votes: np.ndarray, sigma: float) -> float:
    """Propositions 7, 8, 10 and Theorem 6, order by order."""
    winner = votes.argmax()
    q = sum(erfc((votes[winner] - v) / (2 * sigma)) / 2 for i, v in enumerate(votes) if i != winner)
    q = min(q, 1 - 1 / len(votes))
    best = math.inf
    for order in gnmax.ORDERS.tolist():
        best = min(best, loop_rdp(q, sigma, order) + math.log(1 / DELTA) / (order - 1))
    return best


def loop_rdp(q: float, sigma: float, order: float) -> float:
    """RDP of one query at one order."""
    independent = order / sigma**2
    if q <= 0:
        return independent
    mu2 = sigma * math.sqrt(-math.log(q))
    mu1 = mu2 + 1
    eps1, eps2 = mu1 / sigma**2, mu2 / sigma**2
    if not (mu2 > 1 and mu1 > order and eps2 < -math.log(q)):
        return independent
    if q > math.exp((mu2 - 1) * eps2) / (mu1 / (mu1 - 1) * mu2 / (mu2 - 1)) ** mu2:
        return independent
    a = (1 - q) / (1 - (q * math.exp(eps2)) ** ((mu2 - 1) / mu2))
    b = math.exp(eps1) / q ** (1 / (mu1 - 1))
    return math.log((1 - q) * a ** (order - 1) + q * b ** (order - 1)) / (order - 1)


def loop_neighbours(train: np.ndarray, labels: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Votes of the nearest training points of one query."""
    nearest = np.argsort(np.linalg.norm(train - query, axis=1))[:NEIGHBOURS]
    return np.bincount(labels[nearest], minlength=CLASSES)


def loop_entropy(probs: np.ndarray) -> float:
    """Normalised entropy of one answer."""
    return -sum(p * math.log(p) for p in probs if p > 0) / math.log(len(probs))


def loop_gap(probs: np.ndarray) -> float:
    """Gap score of one answer: 1 - (first - second) / (first + second)."""
    second, first = np.sort(probs)[-2:]
    return float(1 - (first - second) / (first + second))


def answers(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities `[count, classes]` of a victim that is sure of some and unsure of others."""
    labels = random.integers(0, CLASSES, count)
    logits = random.normal(size=(count, CLASSES)) * 1.5
    logits[np.arange(count), labels] += random.uniform(0, 14, count)
    logits -= logits.max(1, keepdims=True)
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32), labels


def ensemble_votes(count: int, random: np.random.Generator) -> np.ndarray:
    """Histograms `[count, classes]` of teachers that agree to any degree."""
    share = random.dirichlet(np.full(CLASSES, 0.2), count)
    return np.stack([random.multinomial(TEACHERS, row) for row in share]).astype(np.float64)


def seconds_a_call(call: Callable[[], object], device: str, repeats: int = 3) -> float:
    """The fastest of a few calls, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def row(
    name: str, fast: Fast, slow: Slow, device: str, rows: Sequence[int]
) -> tuple[str, float, float, float]:
    """A measure's microseconds a query, the loop's, and the largest difference between their results."""
    ours = fast().cpu().numpy()
    started = time.perf_counter()
    theirs = [slow(i) for i in rows]
    loop = (time.perf_counter() - started) / len(rows)
    difference = float(np.abs(ours[list(rows)] - np.array(theirs)).max())
    return name, seconds_a_call(fast, device) / len(ours) * 1e6, loop * 1e6, difference


class Queries:
    """What the measures look at, as arrays for the loops and as tensors on a device."""

    def __init__(self, count: int, train: int, device: str) -> None:
        random = np.random.default_rng(0)
        votes = ensemble_votes(count, random)
        images, labels = answers(train, random)
        query, _ = answers(count, random)
        probs = np.exp(query.astype(np.float64))
        self.arrays = {"votes": votes, "train": images, "labels": labels, "query": query, "probs": probs}
        self.tensors = {name: torch.from_numpy(it).to(device) for name, it in self.arrays.items()}

    def neighbours(self) -> Tensor:
        """Votes `[n, classes]` of the nearest training points of all queries."""
        on = self.tensors
        return pknn.neighbour_votes(on["train"], on["labels"], on["query"], NEIGHBOURS, CLASSES)

    def loop_neighbours(self, i: int) -> np.ndarray:
        """The same of query number `i`."""
        return loop_neighbours(self.arrays["train"], self.arrays["labels"], self.arrays["query"][i])


def comparisons(queries: Queries) -> list[tuple[str, Fast, Slow]]:
    """Each measure by its name, for all queries, and for one query as a loop."""
    arrays, on = queries.arrays, queries.tensors
    return [
        (
            "epsilon of a histogram (PATE)",
            lambda: gnmax.query_epsilon(on["votes"], SIGMA, DELTA),
            lambda i: loop_epsilon(arrays["votes"][i], SIGMA),
        ),
        (
            f"votes of {NEIGHBOURS} of {len(arrays['train']):,} neighbours",
            queries.neighbours,
            queries.loop_neighbours,
        ),
        (
            "pkNN: neighbours and epsilon",
            lambda: gnmax.query_epsilon(queries.neighbours(), PKNN_SIGMA, DELTA),
            lambda i: loop_epsilon(queries.loop_neighbours(i), PKNN_SIGMA),
        ),
        (
            "entropy",
            lambda: uncertainty.entropy(on["probs"]),
            lambda i: loop_entropy(arrays["probs"][i]),
        ),
        ("gap", lambda: uncertainty.gap(on["probs"]), lambda i: loop_gap(arrays["probs"][i])),
    ]


def measure(options: argparse.Namespace) -> list[tuple[str, float, float, float]]:
    """A row for each measure."""
    queries = Queries(options.queries, options.train, options.device)
    rows = range(min(options.loop, options.queries))
    return [row(*comparison, options.device, rows) for comparison in comparisons(queries)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--train", type=int, default=50_000)
    parser.add_argument("--loop", type=int, default=100, help="queries that the loop answers")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    table = Table(title=f"{options.queries:,} queries on {options.device}, {torch.get_num_threads()} threads")
    for name in ("measure", "us a query", "loop, us a query", "times faster", "largest difference"):
        table.add_column(name, justify="left" if name == "measure" else "right")
    for name, ours, loop, difference in measure(options):
        table.add_row(name, f"{ours:.3g}", f"{loop:.4g}", f"{loop / ours:,.0f}", f"{difference:.2g}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
