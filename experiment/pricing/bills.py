"""Bills: what proof of work takes of an attacker's hardware, and of an honest user who asks as much."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from pow.evasion.best_response import Evade
from pow.hardware import Hardware
from pow.honest_users import Cumulative, HonestUsers
from pow.requests import asked_hashes, opening_hashes, request_seconds
from victims.defenses.base import Charge

HONEST_USERS = 20
"""So many are simulated, and their mean is the honest user's bill."""


@dataclass(frozen=True, eq=False)
class HonestWork:
    """Work of the mean honest user, cumulative after each of its requests; arrays `[m]`."""

    queries: np.ndarray
    seconds: np.ndarray
    expected_hashes: np.ndarray

    def after(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seconds of the reference client and expected hashes after so many queries `[n]`, interpolated."""
        seconds = np.interp(queries, self.queries, self.seconds)
        return seconds, np.interp(queries, self.queries, self.expected_hashes)


@dataclass(frozen=True, eq=False)
class Surcharge:
    """What multiplies the toll of an account while its alarm lasts, and when honest users have one.

    `alarms_after` and `alarms_until` are the numbers of queries, in rising order, after which an alarm of one
    of `users` came, and went.
    """

    factor: float
    alarms_after: np.ndarray
    users: int
    alarms_until: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def share(self, queries: np.ndarray) -> np.ndarray:
        """Share of honest users who pay it for a request that ends with their query of that number `[n]`."""
        came = np.searchsorted(self.alarms_after, queries, side="right")
        return (came - np.searchsorted(self.alarms_until, queries, side="right")) / self.users


def honest_work(
    toll: Charge,
    priced: pd.DataFrame,
    cumulative: Cumulative,
    longest: int,
    seed: int,
    surcharge: Surcharge | None = None,
    request_size: int | None = None,
) -> HonestWork:
    """What the toll asks of honest users who draw `longest` queries from the priced images.

    Each opens one account of its own, whose costs add up to nobody else's. A surcharge counts with the share
    of users who pay it. A request holds `request_size` queries, so that attacker and honest user can be
    billed with the same cut; at most, and by default, as many as the calibration's.
    """
    users = HonestUsers(HONEST_USERS, max(2, longest), lengths=(1.0,), imbalanced=0.0, corrupted=0.0)
    calibration = toll.calibration
    requests = users.requests(
        priced,
        calibration.charged_total(cumulative),
        min(request_size or calibration.request_size, calibration.request_size),
        np.random.default_rng(seed),
        unseen_images=False,
    )
    seconds = request_seconds(calibration, requests)
    hashes = asked_hashes(calibration, toll.puzzle, seconds)
    if surcharge is not None:
        share, raised = surcharge.share(requests["queries"].to_numpy()), surcharge.factor * seconds
        raised_hashes = asked_hashes(calibration, toll.puzzle, raised)
        seconds = (1 - share) * seconds + share * raised
        hashes = (1 - share) * hashes + share * raised_hashes
    work = pd.DataFrame({"queries": requests["queries"], "seconds": seconds, "hashes": hashes})
    mean = work.groupby("queries").mean().cumsum()
    account = toll.account_seconds
    account_hashes = opening_hashes(calibration, toll.puzzle, account)
    return HonestWork(
        queries=np.concatenate([[0.0], mean.index.to_numpy(dtype=np.float64)]),
        seconds=account + np.concatenate([[0.0], mean["seconds"].to_numpy()]),
        expected_hashes=account_hashes + np.concatenate([[0.0], mean["hashes"].to_numpy()]),
    )


@dataclass(frozen=True, eq=False)
class Billing:
    """A toll, the hardware that both sides solve its puzzles with, and an honest user's work.

    Args:
        toll: What bills.
        attacker: The attacker's hardware.
        honest: An honest user's hardware.
        honest_work: What an honest user pays.
        surcharge: Multiplies the toll of accounts from the alarm of a defense that watches.
        evade: How the attacker answers the toll.
        patience_days: Days that it waits for allowances to refill, with evade best.
        at_hand: Images that it may pad with besides those of its trace, a row each with their costs.
    """

    toll: Charge
    attacker: Hardware
    honest: Hardware
    honest_work: HonestWork
    surcharge: float = 1.0
    evade: Evade = "none"
    patience_days: float = 0.0
    at_hand: pd.DataFrame | None = None

    def factor(self, trace: pd.DataFrame) -> np.ndarray | None:
        """What multiplies the toll of each query of a trace, float64 `[n]`; None without alarms."""
        return np.where(trace["alarm"], self.surcharge, 1.0) if "alarm" in trace else None

    def columns(self, queries: np.ndarray, expected_hashes: np.ndarray) -> dict[str, np.ndarray]:
        """Bills of the attacker's hashes `[n]`, and of an honest user after as many queries `[n]`."""
        seconds, honest_hashes = self.honest_work.after(queries)
        return {
            **_bill("attacker", self.attacker, expected_hashes, self.toll),
            "honest_pow_seconds": seconds,
            **_bill("honest", self.honest, honest_hashes, self.toll),
        }


BILLS = tuple(
    f"{who}_{figure}" for who in ("attacker", "honest") for figure in ("solve_seconds", "kwh", "usd")
)


def _bill(who: str, hardware: Hardware, hashes: np.ndarray, toll: Charge) -> dict[str, np.ndarray]:
    bill = hardware.bill(hashes, toll.puzzle)
    return {f"{who}_solve_seconds": bill.seconds, f"{who}_kwh": bill.kwh, f"{who}_usd": bill.usd}


def add_bills(curve: pd.DataFrame, billing: Billing | None) -> None:
    """Adds the bills' columns and `honest_overhead` to a curve; without a toll all work is zero."""
    if billing is None:
        columns = {name: np.zeros(len(curve)) for name in ("honest_pow_seconds", *BILLS)}
    else:
        columns = billing.columns(curve["queries"].to_numpy(), curve["expected_hashes"].to_numpy())
    for name, values in columns.items():
        curve[name] = values
    curve["honest_overhead"] = 1 + curve["honest_pow_seconds"] / curve["query_seconds"]


def until_given_up(curve: pd.DataFrame, give_up_usd: float | None, num_classes: int) -> pd.DataFrame:
    """The rounds of a curve that an attacker pays for who spends at most `give_up_usd` on solving.

    It stops before the first round that would take its bill beyond that. One that cannot pay for the first
    has asked nothing and guesses: a single row, round 0.
    """
    if give_up_usd is None:
        return curve
    paid = curve[curve["attacker_usd"] <= give_up_usd]
    if len(paid):
        return paid
    nothing = curve.iloc[:1] * 0
    times = {str(name): 1.0 for name in curve if str(name).endswith("overhead")}
    return nothing.assign(accuracy=1 / num_classes, fidelity=1 / num_classes, **times)
