"""The calibration that a trace is priced by: fitted to an honest user, or the published one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pow.calibration import Calibration, LinearExpectation
from pow.calibration.fitted import FittedCalibration, fit_to_users
from pow.calibration.progressive import ProgressiveCalibration
from pow.fitting import as_fitted, fit_to_population
from pow.honest_users import HonestUsers
from pow.pricing import Pricing
from pow.replay.asked import Replay
from pow.traces import read_authors_trace, read_query_trace


def expectation(path: Path, cost: str) -> LinearExpectation:
    """The line through an honest user's cumulative cost, from a trace of either kind."""
    if path.suffix == ".parquet":
        trace = read_query_trace(path, cost)
        if "corrupted" in trace:  # as honest users' images in the store are
            trace = trace[~trace["corrupted"]]
        costs = trace[f"cost_{cost}"].to_numpy()
        return LinearExpectation.fit(np.arange(1, len(costs) + 1), costs.cumsum())
    rows = read_authors_trace(path)
    return LinearExpectation.fit(rows["queries"].to_numpy(), rows["privacy"].to_numpy())


def calibrated(pricing: Pricing, benign_cost: Mapping[str, float] | None, asked: Replay) -> Calibration:
    """The pricing's calibration, to the honest user that is named, or to the data set's."""
    unfitted = pricing.unexpected
    if isinstance(unfitted, ProgressiveCalibration):
        return _progressive(unfitted, pricing, benign_cost, asked)
    if pricing.users is not None:
        return _fitted(pricing, pricing.users, asked)
    if asked.benign is not None:
        return pricing.calibration(expected=expectation(asked.benign, str(asked.cost)))
    if asked.expected is not None:
        return pricing.calibration(expected=LinearExpectation(**asked.expected))
    published = pricing.published or (LinearExpectation(**benign_cost) if benign_cost else None)
    if published is None:
        raise ValueError(f"{asked.dataset} has no published expectation: name an honest trace by --benign")
    return pricing.calibration(expected=published)


def _progressive(
    unfitted: ProgressiveCalibration,
    pricing: Pricing,
    benign_cost: Mapping[str, float] | None,
    asked: Replay,
) -> Calibration:
    """The calibration fitted to --benign, as the run of the trace had it fitted, or to the published cost.

    The last takes every honest query for one that costs the published slope, so excess counts that cost.
    """
    assert pricing.terms is not None
    if asked.trace.suffix != ".parquet":
        raise ValueError(
            f"--calibration {asked.calibration} needs a trace.parquet: a CSV of the paper's authors has no "
            "queries whose gains could be counted"
        )
    if asked.benign is not None:
        if asked.benign.suffix != ".parquet":
            raise ValueError(
                f"--benign {asked.benign}: --calibration {asked.calibration} needs a trace.parquet by it"
            )
        priced = read_query_trace(asked.benign, str(asked.cost))
    elif asked.fitted and "gains" in asked.fitted:
        return as_fitted(unfitted, asked.fitted)
    elif benign_cost:
        unfitted = _counting(unfitted, str(asked.cost))
        priced = pd.DataFrame({f"cost_{asked.cost}": np.full(PUBLISHED_IMAGES, benign_cost["slope"])})
    else:
        raise ValueError(
            f"--calibration {asked.calibration} needs a trace.parquet by --benign: {asked.dataset} has no "
            "published expectation, and beside the trace lies no result.json of a run with this calibration"
        )
    calibration, promise = fit_to_population(unfitted, pricing.population, pricing.terms, priced, asked.seed)
    if asked.benign is None:
        print(
            "fitted to the published mean cost as if each image cost just that; nothing was tested on others"
        )
    else:
        print(promise.sentence())
    return calibration


def _counting(calibration: ProgressiveCalibration, measure: str) -> ProgressiveCalibration:
    """The calibration with every excess counted by the measure."""
    gains = {name: gain.counting(measure) for name, gain in calibration.gains.items()}
    return replace(calibration, gains=gains)


PUBLISHED_IMAGES = 100
"""So many images stand for those of a data set of which only the mean cost is known."""


def _fitted(pricing: Pricing, users: HonestUsers, asked: Replay) -> Calibration:
    """A calibration fitted to honest users who draw from the queries of --benign; says what it guarantees."""
    unfitted = pricing.calibration(expected=LinearExpectation(0.0, 0.0))
    assert isinstance(unfitted, FittedCalibration)
    if asked.benign is None and asked.fitted and asked.expected and "base" in asked.fitted:
        return replace(unfitted, base=asked.fitted["base"], expected=LinearExpectation(**asked.expected))
    if asked.benign is None or asked.benign.suffix != ".parquet":
        raise ValueError(f"--calibration {asked.calibration} needs a trace.parquet by --benign")
    priced = read_query_trace(asked.benign, str(asked.cost))
    calibration, guarantee = fit_to_users(
        unfitted, users, priced, lambda rows: rows[f"cost_{asked.cost}"].to_numpy().cumsum(), asked.seed
    )
    print(guarantee.sentence(calibration))
    return calibration
