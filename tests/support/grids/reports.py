"""Finished cells made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from extraction.checkpoint import packed


def write_cell(
    folder: Path,
    attack: str,
    seed: int,
    accuracies: Sequence[float],
    key: str | None = None,
    config: dict[str, Any] | None = None,
    without: Sequence[str] = (),
    overhead: float = 2.0,
    honest_overhead: float = 1.1,
    cheapest_overhead: float | None = None,
    right: np.ndarray | None = None,
    **result: Any,
) -> None:
    """A finished cell of 100 queries a round; `result` is added to result.json.

    `right` `[rounds, images]` says which test images its rounds got right, and that the victim does.
    """
    folder.mkdir(parents=True)
    rounds = np.arange(1, len(accuracies) + 1)
    curve = pd.DataFrame(
        {
            "round": rounds,
            "queries": 100 * rounds,
            "accuracy": accuracies,
            "fidelity": accuracies,
            "cost_pate": 30.0 * rounds,
            "query_seconds": 1.0 * rounds,
            "total_seconds": overhead * rounds,
            "overhead": overhead,
            "honest_overhead": honest_overhead,
            "expected_hashes": 1000.0 * rounds,
            "attacker_usd": 0.001,
            "honest_usd": 0.0001,
            "measured_train_seconds": 1.0 + seed,
            "measured_peak_mib": 700.0,
        }
    )
    if cheapest_overhead is not None:
        curve["cheapest_overhead"] = cheapest_overhead
    curve.drop(columns=list(without)).to_csv(folder / "curve.csv", index=False)
    if right is not None:
        bits = [packed(torch.from_numpy(row)) for row in right]
        told = {"round": rounds, "images": right.shape[1], "right": bits, "agrees": bits}
        pd.DataFrame(told).to_csv(folder / "test_images.csv", index=False)
    if config is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    content = {
        "dataset": "digits",
        "attack": attack,
        "defense": "pow",
        "calibration": "progressive",
        "strength": 1.0,
        "seed": seed,
        "measures": {"pate": {"label": "PATE", "format": ".4g"}},
        "victim_accuracy": 0.98,
        "keys": {"cell": key or str(folder)},
    }
    (folder / "result.json").write_text(json.dumps(content | result))
