"""What queries cost, and why: four kinds of queries under every measure, as histograms and pictures.

Leaves `costs.csv`, a row a query, and `explain_<measure>.png` for each measure in the run's folder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig
from torch import Tensor

from experiment.artifacts.metering import VictimMeter
from experiment.artifacts.victim import ServedVictim, TrainedVictim
from experiment.components import Cell
from experiment.compose import compose_cell
from experiment.explaining.pictures import plot_costs
from experiment.images import load_pool
from experiment.kinds import measure_headings
from extraction.attacks.jacobian import label_gradient
from storage.files import write_atomically
from training.batches import to_float
from training.seeds import generator

log = logging.getLogger(__name__)


def queries_of_each_kind(cell: Cell, victim: ServedVictim) -> dict[str, Tensor]:
    """Images in [0, 1] `[n, c, h, w]`, of each kind as many as `explain.queries` and the pools allow.

    adversarial: images of the victim's distribution, stepped against the gradient of the class that the
    victim sees in them (fast gradient sign, Goodfellow et al. 2015). synthetic: uniformly random pixels.
    """
    config, device = cell.config, cell.hardware.device
    count, step = config["explain"]["queries"], config["explain"]["step"]
    foreign = load_pool(config["dataset"]["out_of_distribution"], config["dataset"], cell.data)

    def some(images: Tensor, purpose: str) -> Tensor:
        order = torch.randperm(len(images), generator=generator(config["seed"], "explain", purpose))
        return to_float(images[order[:count]].to(device))

    inside = some(cell.data.pool.images, "in distribution")
    gradient = label_gradient(victim.network, inside, victim.labels(inside), cell.hardware)
    random = generator(config["seed"], "explain", "noise")
    return {
        "in distribution": inside,
        "out of distribution": some(foreign.images, "out of distribution"),
        "adversarial": (inside - step * gradient.sign()).clamp(0, 1),
        "synthetic": torch.rand(len(inside), *inside.shape[1:], generator=random).to(device),
    }


def price(queries: Mapping[str, Tensor], meter: VictimMeter) -> pd.DataFrame:
    """One row a query: its kind, the victim's class, and each measure's columns."""
    parts = []
    for kind, images in queries.items():
        log.info("pricing %d queries: %s", len(images), kind)
        columns = {name: values.cpu().numpy() for name, values in meter.columns(images).items()}
        label = meter.victim.labels(images).cpu().numpy()
        parts.append(pd.DataFrame({"kind": kind, "label": label, **columns}))
    return pd.concat(parts, ignore_index=True)


def explain(config: DictConfig, output: Path) -> pd.DataFrame:
    """Train or load the victim of the config's cell, price every kind of query, write table and pictures."""
    cell = compose_cell(config, progress=False)
    victim = TrainedVictim(cell).get()
    queries = queries_of_each_kind(cell, victim)
    costs = price(queries, VictimMeter(cell, victim))
    write_atomically(output / "costs.csv", lambda path: costs.to_csv(path, index=False))
    for measure, heading in measure_headings(cell.config).items():
        path = output / f"explain_{measure}.png"
        title = f"{cell.config['dataset']['name']}: what a query costs under {heading['label']}"
        plot_costs(queries, costs, measure, title, config.explain.pictures, path)
        log.info("plot: %s", path)
    means = costs.groupby("kind", sort=False)[[f"cost_{measure}" for measure in cell.measures]].mean()
    log.info("mean cost of a query\n%s", means.to_string(float_format="%.4g"))
    return costs
