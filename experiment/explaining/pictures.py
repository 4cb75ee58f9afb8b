"""Pictures of what queries cost: a histogram of every kind, and its cheapest and most expensive queries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from torch import Tensor

BINS = 40


def plot_costs(
    queries: Mapping[str, Tensor], costs: pd.DataFrame, measure: str, title: str, pictures: int, path: Path
) -> None:
    """One PNG: a row a kind of query, with its histogram on the left, on one scale for all kinds, and its
    `pictures` cheapest and most expensive queries, each under its cost and the victim's class, on the right.

    Args:
        queries: Images in [0, 1] `[n, c, h, w]` by kind, in the order of the rows of `costs`.
        costs: The columns kind, label and `cost_<measure>`.
        measure: The measure's option.
        title: What stands above the picture.
        pictures: How many queries of each kind are shown from either end.
        path: Where the PNG is written.
    """
    column = f"cost_{measure}"
    edges = np.linspace(costs[column].min(), max(costs[column].max(), costs[column].min() + 1e-9), BINS + 1)
    figure = plt.figure(figsize=(4 + 0.9 * pictures, 2.3 * len(queries) + 0.6), layout="constrained")
    rows = figure.subfigures(len(queries), 1, squeeze=False)[:, 0]
    for number, (kind, images) in enumerate(queries.items()):
        left, right = rows[number].subfigures(1, 2, width_ratios=[4, 0.9 * pictures])
        mine = costs[costs["kind"] == kind].reset_index(drop=True)
        _histogram(left.subplots(), mine[column], edges, kind, f"C{number}")
        _extremes(right, images, mine, column, pictures)
    figure.suptitle(f"{title}; cheapest and most expensive of each kind")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _histogram(axes: Any, costs: pd.Series, edges: np.ndarray, kind: str, color: str) -> None:
    axes.hist(costs, bins=edges, color=color)
    axes.axvline(costs.mean(), color="0.2", linewidth=1, linestyle="--")
    axes.set_title(f"{kind}: mean {costs.mean():.3g}", fontsize=9, loc="left")
    axes.set_ylabel("queries", fontsize=8)
    axes.tick_params(labelsize=7)


def _extremes(figure: Any, images: Tensor, costs: pd.DataFrame, column: str, pictures: int) -> None:
    order = costs[column].sort_values(kind="stable").index
    shown = min(pictures, len(order))
    axes = figure.subplots(2, pictures, squeeze=False)
    for line, chosen in zip(axes, (order[:shown], order[::-1][:shown]), strict=True):
        for place in line:
            place.axis("off")
        for place, index in zip(line, chosen, strict=False):
            picture = images[index].cpu().permute(1, 2, 0).numpy()
            place.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            place.set_title(f"{costs[column][index]:.3g} ({costs['label'][index]})", fontsize=7)
