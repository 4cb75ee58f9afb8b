"""The explanation of costs, on digits."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from experiment.explaining.explain import explain
from storage.errors import InputError
from support.commands import ROOT, run_program


@pytest.mark.slow  # it trains for its pictures
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


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("queries=x", "explain.queries must be a whole number of at least 1, not 'x'"),
        ("pictures=-1", "explain.pictures must be a whole number between 1 and 100, not -1"),
        ("step=nan", "explain.step must be a number between 0 and 1, not nan"),
    ],
)
def test_options_that_make_no_sense_are_named(override: str, said: str, tmp_path: Path) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("explain", [f"explain.{override}", f"paths.store={tmp_path}/store"])
    with pytest.raises(InputError) as error:
        explain(config, tmp_path)
    assert str(error.value) == said
    assert not (tmp_path / "store").exists()
