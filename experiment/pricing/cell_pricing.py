"""What the queries of a cell cost its attacker: the toll's bills, and the curve with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiment.artifacts.extraction import Extracted
from experiment.artifacts.honest_users import HonestCosts
from experiment.artifacts.metering import VictimMeter
from experiment.artifacts.utility_loss import UtilityLoss
from experiment.components import Cell
from experiment.defense_stack import Toll
from experiment.pricing.bills import Billing, honest_work, until_given_up
from experiment.pricing.calibrating import Calibrated, calibrate
from experiment.pricing.curve import TraceAccounting, build_curve
from experiment.pricing.evading import cheapest
from pow.traces import split_over_accounts
from victims.defenses.base import Charge


@dataclass(frozen=True, eq=False)
class CellPricing:
    """How the queries of a cell are priced. Without a toll there is nothing calibrated, and no bill."""

    cell: Cell
    accounting: TraceAccounting
    calibrated: Calibrated | None = None
    billing: Billing | None = None

    def curve(self, extracted: Extracted) -> pd.DataFrame:
        """What each round has cost so far (see build_curve)."""
        return build_curve(
            extracted.rounds,
            self.shared_out(extracted.trace),
            list(self.cell.measures),
            self.accounting,
            self.cell.config["dataset"]["request_seconds"],
            self.billing,
        )

    def cheapest(self, extracted: Extracted, curve: pd.DataFrame) -> dict[str, Any] | None:
        """The least that the queries of a curve could have cost, and how; None without a toll."""
        if self.billing is None:
            return None
        terms = self.accounting.terms(self.billing, self.cell.config["dataset"]["request_seconds"])
        queries = int(curve["queries"].iloc[-1])
        return cheapest(self.shared_out(extracted.trace), queries, self.billing, terms)

    def paid(self, curve: pd.DataFrame) -> pd.DataFrame:
        """The part of the curve that the attacker pays for."""
        cell = self.cell
        return until_given_up(curve, cell.config["attack"]["give_up_usd"], cell.data.train.num_classes)

    def shared_out(self, trace: pd.DataFrame) -> pd.DataFrame:
        """The trace with the accounts that asked."""
        accounts = self.cell.accounts_after
        return split_over_accounts(trace, accounts) if accounts > 1 else trace


def price_cell(cell: Cell, meter: VictimMeter) -> CellPricing:
    """The pricing of a cell, calibrated to what honest users' images cost its victim."""
    accounting, toll = TraceAccounting(cell.accounting), cell.toll
    if toll is None:
        return CellPricing(cell, accounting)
    honest = HonestCosts(cell, meter)
    calibrated = calibrate(toll, honest, accounting, cell.config["seed"])
    defense = toll.defense.bind(calibrated.calibration, toll.pricing.puzzle)
    return CellPricing(cell, accounting, calibrated, _billing(toll, defense, honest, accounting))


def _billing(toll: Toll, defense: Charge, honest: HonestCosts, accounting: TraceAccounting) -> Billing:
    """The bills of attacker and honest user under the calibrated toll `defense`."""
    cell = honest.cell
    at_hand = honest.clean().filter(regex=f"_{toll.cost}$")
    work = honest_work(
        defense,
        at_hand,
        lambda rows: accounting.cumulative(rows, toll.cost),
        cell.settings.budget,
        cell.config["seed"],
        UtilityLoss(cell, honest.meter.victim).surcharge(),
    )
    attack = cell.config["attack"]
    return Billing(
        toll=defense,
        attacker=toll.pricing.attacker,
        honest=toll.pricing.honest,
        honest_work=work,
        surcharge=cell.stack.surcharge,
        account_seconds=toll.defense.account_seconds,
        evade=attack["evade"],
        patience_days=attack["patience_days"],
        at_hand=at_hand,
    )
