"""What tests of sweeps on a real SLURM share: the cluster, and looking at a sweep's jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.grids.slurm_cluster import NEEDED, Cluster
from support.missing import program

SLURM = (
    "hydra/launcher=slurm",
    "hydra.launcher.poll_seconds=1",
    "hydra.launcher.signal_delay_s=15",
    "hydra.launcher.mem_gb=1.5",
    "hydra.launcher.resources.prepare={timeout_min: 20, cpus_per_task: 1}",
    "hydra.launcher.resources.extract={timeout_min: 10, cpus_per_task: 1}",
    "hydra.launcher.resources.price={timeout_min: 20, cpus_per_task: 1}",
)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster; a machine without SLURM skips what needs it."""
    for name in NEEDED:
        program(name)
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def until(true: Callable[[], bool], what: str, seconds: float = 150) -> None:
    for _ in range(int(seconds / 0.1)):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def jobs(base: Path) -> dict[str, dict[str, str]]:
    path = base / "sweep" / ".tollgate" / "jobs.json"
    found: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def job_of(base: Path, number: int) -> str:
    plan = json.loads((base / "sweep" / ".tollgate" / "plan.json").read_text())
    return jobs(base)[f"cells-{plan['cells'][number]['extraction']}"]["job"]
