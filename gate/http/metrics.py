"""Metrics are what the gate counts and times for Prometheus."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder in which several workers add up their counts."""


class Metrics:
    """Counters of one gate, in a registry of its own."""

    MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        several = MULTIPROCESS in os.environ
        registry = None if several else self.registry

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"tollgate_{name}", text, labels, registry=registry)

        self.requests = counter("requests", "Requests by endpoint and status.", ("endpoint", "status"))
        self.refusals = counter("refusals", "Requests refused, by reason.", ("reason",))
        self.queries = counter("queries", "Images for which work was asked.")
        self.issued = counter("puzzles_issued", "Puzzles issued.")
        self.solved = counter("puzzles_solved", "Puzzles solved and redeemed.")
        self.work = counter("work_asked_hashes", "Expected hashes of the puzzles issued.")
        self.inference = Histogram(
            "tollgate_inference_seconds",
            "Seconds from a query's arrival at the model to its answer.",
            registry=registry,
        )
        self.effort = Gauge(
            "tollgate_effort",
            "What work is multiplied by, because of the load.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.effort.set(1.0)
        if several:
            MultiProcessCollector(self.registry)

    def exposition(self) -> bytes:
        """Return all counts in Prometheus' text format."""
        return generate_latest(self.registry)


def forget_worker(process: int) -> None:
    """Leave a worker that ended out of what the others are at; its counts stay."""
    if MULTIPROCESS in os.environ:
        mark_process_dead(process)
