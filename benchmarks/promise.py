"""How often the interval that a fit prints holds the truth: the share of honest users below each bound.

    python -m benchmarks.promise [--fits 200] [--images 300 1000]

Costs of images are made up, with a heavy tail and a class that is twice as dear, so that the truth is known:
it is the share among users of very many images. Each fit has images of its own. Nine of ten must hold.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from pow.calibration.progressive import ProgressiveCalibration
from pow.fitting import Bound, Terms, fit_to_population, overheads
from pow.gains.excess import ExcessGain
from pow.gains.volume import VolumeGain
from pow.population import Population, Stratum, sorted_by_label

BOUNDS = (Bound(0.95, 2.0), Bound(0.99, 4.0))
TERMS = Terms(BOUNDS, 0.5)
POPULATION = Population(
    {
        "single": Stratum(0.25, request_size=1),
        "small": Stratum(0.2, request_size=16),
        "usual": Stratum(0.25),
        "whole": Stratum(0.1, request_size=None),
        "narrow": Stratum(0.08, classes=1),
        "repeating": Stratum(0.05, repeats=0.5),
        "corrupted": Stratum(0.05, corruption=0.2),
        "heavy": Stratum(0.02, median=1.0, spread=0.0),
    },
    longest=600,
    count=400,
)
TRUE_IMAGES, TRUE_SAMPLES = 20_000, 20
"""Images, and samples of the population, that stand for the truth."""


def calibration(excess: float) -> ProgressiveCalibration:
    """A calibration that is not fitted yet, in which an honest query's excess weighs as much as given."""
    gains = {"excess": ExcessGain(weight=excess), "volume": VolumeGain(weight=1 - excess)}
    return ProgressiveCalibration(gains=gains)


def made_up_images(number: int, random: np.random.Generator) -> pd.DataFrame:
    """Return `number` priced images, and each once more as it is when lightly corrupted."""
    label = random.integers(10, size=number)
    cost = random.gamma(0.3, size=number) * (1 + (label == 3))
    clean = pd.DataFrame({"label": label, "cost_pate": cost, "corrupted": False})
    return pd.concat([clean, clean.assign(corrupted=True, cost_pate=1.2 * cost)], ignore_index=True)


def true_shares(fitted: ProgressiveCalibration, priced: pd.DataFrame) -> list[float]:
    """Return the share of users below each bound."""
    random = np.random.default_rng(0)
    samples = [POPULATION.draw(priced, random) for _ in range(TRUE_SAMPLES)]
    found = np.concatenate([overheads(fitted, users, priced) for users in samples])
    return [float((found < bound.overhead).mean()) for bound in BOUNDS]


def held(excess: float, images: int, fits: int, truth: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of fits whose interval holds the truth, and the mean truth, `[bounds]` each."""
    within, shares = [], []
    for seed in range(fits):
        priced = made_up_images(images, np.random.default_rng([images, seed]))
        fitted, promise = fit_to_population(calibration(excess), POPULATION, TERMS, priced, seed)
        shares.append(true_shares(fitted, truth))
        within.append(
            [each.low <= share <= each.high for each, share in zip(promise.held, shares[-1], strict=True)]
        )
    return np.mean(within, axis=0), np.mean(shares, axis=0)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fits", type=int, default=200)
    parser.add_argument("--images", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--excess", type=float, nargs="+", default=[0.05, 0.5], help="weights to try")
    options = parser.parse_args()
    truth = sorted_by_label(made_up_images(TRUE_IMAGES, np.random.default_rng(1)))
    table = Table(title=f"The printed interval, in {options.fits} fits each")
    for name in ("weight of excess", "images", "bound", "interval holds", "true share, mean"):
        table.add_column(name, justify="right")
    for excess in options.excess:
        for images in options.images:
            within, share = held(excess, images, options.fits, truth)
            for number, bound in enumerate(BOUNDS):
                name = f"{100 * bound.users:g} % below {bound.overhead:g}"
                table.add_row(
                    f"{excess:g}", f"{images:,}", name, f"{within[number]:.3f}", f"{share[number]:.4f}"
                )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
