"""How many microseconds each privacy measure takes for a query, against a plain loop in NumPy.

    python -m benchmarks.privacy_costs [--queries 10000] [--train 50000] [--loop 100] [--device cpu]

The loop is what one would write first: over queries and orders, with `norm` and `argsort`. Both must agree.
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


def loop_epsilon(votes: np.ndarray, sigma: float) -> float:
    """Return epsilon of one query by Propositions 7, 8, 10 and Theorem 6, order by order."""
    winner = votes.argmax()
    q = sum(erfc((votes[winner] - v) / (2 * sigma)) / 2 for i, v in enumerate(votes) if i != winner)
    q = min(q, 1 - 1 / len(votes))
    best = math.inf
    for order in gnmax.ORDERS.tolist():
        best = min(best, loop_rdp(q, sigma, order) + math.log(1 / DELTA) / (order - 1))
    return best


def loop_rdp(q: float, sigma: float, order: float) -> float:
    """Return the RDP of one query at one order."""
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
    """Return the votes of the nearest training points of one query."""
    nearest = np.argsort(np.linalg.norm(train - query, axis=1))[:NEIGHBOURS]
    return np.bincount(labels[nearest], minlength=CLASSES)


def loop_entropy(probs: np.ndarray) -> float:
    return -sum(p * math.log(p) for p in probs if p > 0) / math.log(len(probs))


def loop_gap(probs: np.ndarray) -> float:
    second, first = np.sort(probs)[-2:]
    return float(1 - (first - second) / (first + second))


def answers(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw log-probabilities `[count, classes]` of a victim of any certainty, and the labels `[count]`."""
    labels = random.integers(0, CLASSES, count)
    logits = random.normal(size=(count, CLASSES)) * 1.5
    logits[np.arange(count), labels] += random.uniform(0, 14, count)
    logits -= logits.max(1, keepdims=True)
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32), labels


def ensemble_votes(count: int, random: np.random.Generator) -> np.ndarray:
    """Draw histograms `[count, classes]` of teachers that agree to any degree."""
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
    name: str,
    fast: Callable[[], Tensor],
    slow: Callable[[int], object],
    options: argparse.Namespace,
    rows: Sequence[int],
) -> tuple[str, float, float, float]:
    """A measure's microseconds a query, the loop's, and the largest difference between their results."""
    ours = fast().cpu().numpy()
    started = time.perf_counter()
    theirs = [slow(i) for i in rows]
    loop = (time.perf_counter() - started) / len(rows)
    difference = float(np.abs(ours[list(rows)] - np.array(theirs)).max())
    return name, seconds_a_call(fast, options.device) / len(ours) * 1e6, loop * 1e6, difference


def measure(options: argparse.Namespace) -> list[tuple[str, float, float, float]]:
    """A row for each measure."""
    random = np.random.default_rng(0)
    votes = ensemble_votes(options.queries, random)
    train, labels = answers(options.train, random)
    query, _ = answers(options.queries, random)
    probs = np.exp(query.astype(np.float64))
    on_device = {
        name: torch.from_numpy(values).to(options.device)
        for name, values in {
            "votes": votes,
            "train": train,
            "labels": labels,
            "query": query,
            "probs": probs,
        }.items()
    }
    rows = range(min(options.loop, options.queries))

    def neighbours() -> Tensor:
        return pknn.neighbour_votes(
            on_device["train"], on_device["labels"], on_device["query"], NEIGHBOURS, CLASSES
        )

    return [
        row(
            "epsilon of a histogram (PATE)",
            lambda: gnmax.query_epsilon(on_device["votes"], SIGMA, DELTA),
            lambda i: loop_epsilon(votes[i], SIGMA),
            options,
            rows,
        ),
        row(
            f"votes of {NEIGHBOURS} of {options.train:,} neighbours",
            neighbours,
            lambda i: loop_neighbours(train, labels, query[i]),
            options,
            rows,
        ),
        row(
            "pkNN: neighbours and epsilon",
            lambda: gnmax.query_epsilon(neighbours(), PKNN_SIGMA, DELTA),
            lambda i: loop_epsilon(loop_neighbours(train, labels, query[i]), PKNN_SIGMA),
            options,
            rows,
        ),
        row(
            "entropy",
            lambda: uncertainty.entropy(on_device["probs"]),
            lambda i: loop_entropy(probs[i]),
            options,
            rows,
        ),
        row("gap", lambda: uncertainty.gap(on_device["probs"]), lambda i: loop_gap(probs[i]), options, rows),
    ]


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
