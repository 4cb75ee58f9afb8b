"""The explanation of costs, on digits."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from support.commands import run_program


def test_attackers_queries_cost_more_than_honest_ones(tmp_path: Path) -> None:
    process = run_program(
        *("-m", "commands", "explain", "explain.queries=200", "explain.pictures=4"),
        *(f"paths.store={tmp_path}/store", f"hydra.run.dir={tmp_path}/run", "trainer=cpu"),
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    costs = pd.read_csv(tmp_path / "run" / "costs.csv")
    assert costs.groupby("kind").size().to_dict() == {
        "in distribution": 200,
        "out of distribution": 200,
        "adversarial": 200,
        "synthetic": 200,
    }
    means = costs.groupby("kind")["cost_pate"].mean()
    assert means["in distribution"] < means["adversarial"]
    assert means["in distribution"] < means["out of distribution"]
    for measure in ("pate", "pknn", "entropy", "gap"):
        picture = tmp_path / "run" / f"explain_{measure}.png"
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000
