"""Jobs that a real SLURM takes off their nodes: they are requeued, and ask nothing twice."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from support.grids.on_cluster import SLURM, job_of, jobs, until
from support.grids.running import asked, command, curve, environment, gated, run, started
from support.grids.slurm_cluster import Cluster

NAMES = ("Requeued", "Late", "Plain")


def node_of(cluster: Cluster, job: str) -> str:
    shown = cluster.run("scontrol", "show", "job", job).stdout
    match = re.search(r"\bNodeList=(n\d)", shown)
    assert match, shown
    return match[1]


@pytest.fixture(scope="module")
def taken(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep of which one cell is preempted, with grace, and one loses its node; and its status."""
    base = tmp_path_factory.mktemp("taken")
    gates, variables = base / "gates", environment(base, cluster.environment)
    with started(command(base, gated(*NAMES), *SLURM), variables):
        until(lambda: len(jobs(base)) == 4, "the submission")
    for name in ("Requeued", "Late"):
        until((gates / f"{name}.reached").exists, f"the second round of {name}")
        (gates / f"{name}.reached").unlink()
    preempted, lost = job_of(base, 0), job_of(base, 1)
    whole = ("--partition=high", "--cpus-per-task=2", "--time=1", "--output=/dev/null", "--wrap=sleep 1")
    cluster.run("sbatch", f"--nodelist={node_of(cluster, preempted)}", *whole)
    restarted = re.compile(r"Restarts=[1-9]")
    until(
        lambda: bool(restarted.search(cluster.run("scontrol", "show", "job", preempted).stdout)), "preemption"
    )
    if not restarted.search(cluster.run("scontrol", "show", "job", lost).stdout):  # they may share a node
        node = f"NodeName={node_of(cluster, lost)}"
        cluster.run("scontrol", "update", node, "State=DOWN", "Reason=test")
        until(lambda: bool(restarted.search(cluster.run("scontrol", "show", "job", lost).stdout)), "requeue")
        cluster.run("scontrol", "update", node, "State=RESUME")
    for name in ("Requeued", "Late"):
        until((gates / f"{name}.reached").exists, f"the second start of {name}", 240)
        (gates / name).touch()
    status = [sys.executable, "-m", "commands", "status", str(base / "sweep"), "--wait"]
    return base, run(status, os.environ | cluster.environment).stdout


def test_all_cells_are_done(taken: tuple[Path, str]) -> None:
    assert taken[1].splitlines()[-1] == "3 cells: 3 done"


def test_nothing_is_asked_twice_and_the_curves_are_undisturbed(taken: tuple[Path, str]) -> None:
    cells = [taken[0] / "sweep" / f"cell{number}" for number in range(3)]
    for cell in cells:
        pd.testing.assert_frame_equal(curve(cell), curve(cells[2]), check_exact=True)
        assert asked(cell) == 300
