"""What the same service costs its honest users: the median, and the quantile of those who ask much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from pow.hardware import Hardware
from pow.honest_users import Cumulative
from pow.population import Population, sorted_by_label
from pow.requests import charge, opening_hashes
from pow.traces import by_payer
from victims.defenses.base import Charge

USERS = 1000
"""So many are billed, spread evenly over strata and lengths: as many drawn ones tell q95 to a third only."""

QUANTILES = {"median": 0.5, "q95": 0.95}

WORK = ("queries", "seconds", "expected_hashes")
"""What is added up over the requests of a user."""

HonestBill = dict[str, dict[str, float]]
"""Quantiles of each figure of an honest user's bill, by the figure's name and the quantile's."""


def honest_bill(
    toll: Charge,
    hardware: Hardware,
    population: Population,
    priced: pd.DataFrame,
    cost: Cumulative,
    seed: int,
) -> HonestBill:
    """Bill a sample of the population, each user with an account of its own and its own size of requests.

    Args:
        toll: The toll, calibrated.
        hardware: What honest users solve with.
        population: Draws the users.
        priced: One row per image; see HonestUsers.requests.
        cost: Adds up the privacy measure of the toll.
        seed: Seed of the sample.

    Returns:
        Median and 95 % quantile of `queries`, `pow_seconds` (of the reference client), `solve_seconds`, `kwh`
        and `usd` (of `hardware`), each with the price of one account.
    """
    images = sorted_by_label(priced)
    users = replace(population, count=USERS).draw(images, np.random.default_rng(seed), evenly=True)
    cumulative = by_payer(toll.calibration.charged_total(cost), images.iloc[users.row], users.user)
    requests = charge(
        toll.calibration,
        toll.puzzle,
        users.user,
        np.zeros_like(users.user),
        cumulative,
        users.user,
        request_size=users.request_size[users.user],
    )
    total = _with_account(requests.groupby("account")[list(WORK)].sum(), toll)
    bill = hardware.bill(total["expected_hashes"].to_numpy(), toll.puzzle)
    figures = {
        "queries": total["queries"].to_numpy(),
        "pow_seconds": total["seconds"].to_numpy(),
        "solve_seconds": bill.seconds,
        "kwh": bill.kwh,
        "usd": bill.usd,
    }
    return {name: _quantiles(values) for name, values in figures.items()}


def _with_account(total: pd.DataFrame, toll: Charge) -> pd.DataFrame:
    """The users' work together with that of opening an account."""
    if not toll.account_seconds:
        return total
    hashes = opening_hashes(toll.calibration, toll.puzzle, toll.account_seconds)
    return total + pd.Series({"queries": 0.0, "seconds": toll.account_seconds, "expected_hashes": hashes})


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {name: float(np.quantile(values, quantile)) for name, quantile in QUANTILES.items()}
