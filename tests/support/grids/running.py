"""Small sweeps on digits for the tests of the launchers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from support.commands import ROOT, Program, forked, inherited

SMALL = (
    "logger=none",
    "trainer=cpu",
    "victim.recipe.epochs=2",
    "substitute.recipe.epochs=3",
    "privacy.measures.pate.teachers=3",
    "privacy.measures.pate.recipe.epochs=2",
    "attack.budget=300",
    "dataset.transfer.steps=2",
)
COUNTED = (
    *("round", "queries", "accuracy", "fidelity"),
    *("query_seconds", "pow_seconds", "total_seconds", "overhead", "expected_hashes", "difficulty_bits"),
)


def gated(*names: str) -> str:
    """The override that chooses attacks of support.grids.gated_attacks."""
    return "attack.rule._target_=" + ",".join(f"support.grids.gated_attacks.{name}" for name in names)


GATED = gated("Raising", "Cancelled", "Requeued", "Late", "Plain")


def command(base: Path, *overrides: str) -> list[str]:
    """A grid whose cells are `base/sweep/cell<number>`, with the store in `base/store`."""
    paths = [f"paths.store={base}/store", f"paths.output={base}/outputs", f"hydra.sweep.dir={base}/sweep"]
    return [
        sys.executable,
        "run.py",
        "-m",
        *SMALL,
        *paths,
        "hydra.sweep.subdir=cell${hydra.job.num}",
        *overrides,
    ]


def environment(base: Path, more: dict[str, str]) -> dict[str, str]:
    """Of a head: it finds the gated attacks and their gates."""
    gates = base / "gates"
    gates.mkdir(parents=True, exist_ok=True)
    ours = {"PYTHONPATH": str(ROOT / "tests"), "TOLLGATE_TEST_GATES": str(gates), "OMP_NUM_THREADS": "1"}
    return inherited() | ours | more


def started(arguments: Sequence[str], environment: dict[str, str]) -> Program:
    """A head that goes on beside the test."""
    return Program(arguments[1:], ROOT, environment)


def run(arguments: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A head from its start to its end."""
    return forked(arguments[1:], ROOT, environment)


def curve(cell: Path) -> pd.DataFrame:
    """The counted figures of a finished cell."""
    whole = pd.read_csv(cell / "curve.csv")
    return whole[[*COUNTED, *whole.filter(regex="^cost_")]]


def asked(cell: Path) -> int:
    """Queries that the victim was asked in this folder's runs, by the log."""
    return sum(int(n) for n in re.findall(r"(\d+) queries asked of the victim", (cell / "log").read_text()))


def entries(base: Path, kind: str) -> int:
    """Finished artefacts of a kind in the store."""
    return len(list((base / "store" / kind).glob("*/DONE")))
