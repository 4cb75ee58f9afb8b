"""Small cells of digits with any defense."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from support.commands import ROOT

SMALL = [
    *("logger=none", "trainer=cpu", "victim.recipe.epochs=3", "substitute.recipe.epochs=2"),
    "dataset.transfer.steps=2",
    *("~privacy.measures.pate", "~privacy.measures.pknn", "pow_calibration=constant"),
    *(
        "attack=knockoff",
        "attack.budget=60",
        "attack.round_size=30",
        "dataset.out_of_distribution.source.count=200",
    ),
]


def composed(store: Path, *overrides: str) -> DictConfig:
    toll = ["defense.pow.cost=gap"] if any("pow" in override.split("=")[1] for override in overrides) else []
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", [*SMALL, f"paths.store={store}", *overrides, *toll])
