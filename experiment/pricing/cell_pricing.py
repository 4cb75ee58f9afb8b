"""What the queries of a cell cost its attacker: the toll's bills, and the curve with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiment.artifacts.extraction import Extracted
from experiment.artifacts.honest_users import HonestCosts, clean
from experiment.artifacts.metering import VictimMeter
from experiment.artifacts.utility_loss import UtilityLoss
from experiment.components import Cell
from experiment.defense_stack import Toll
from experiment.pricing.bills import Billing, honest_work, until_given_up
from experiment.pricing.calibrating import Calibrated, calibrate
from experiment.pricing.curve import TraceAccounting, build_curve
from experiment.pricing.evading import cheapest
from experiment.pricing.honest_bill import HonestBill, honest_bill
from pow.traces import split_over_accounts


@dataclass(frozen=True, eq=False)
class CellPricing:
    """How the queries of a cell are priced. Without a toll there is nothing calibrated, and no bill."""

    cell: Cell
    accounting: TraceAccounting
    calibrated: Calibrated | None = None
    billing: Billing | None = None
    honest_bill: HonestBill | None = None

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
        prices = self.accounting.prices(self.billing, self.cell.config["dataset"]["request_seconds"])
        queries = int(curve["queries"].iloc[-1])
        return cheapest(self.shared_out(extracted.trace), queries, self.billing, prices)

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
    honest, seed, pricing = HonestCosts(cell, meter), cell.config["seed"], toll.pricing
    calibrated = calibrate(toll, honest, accounting, seed)
    billing = _billing(toll, calibrated, honest, accounting)
    cost = accounting.adding_up(toll.cost)
    held_out = honest.held_out()
    bill = honest_bill(billing.toll, pricing.honest, pricing.population, held_out, cost, seed)
    return CellPricing(cell, accounting, calibrated, billing, bill)


def _billing(toll: Toll, calibrated: Calibrated, honest: HonestCosts, accounting: TraceAccounting) -> Billing:
    """The bills of attacker and honest user under the calibrated toll.

    The honest user asks about images that the toll was not fitted to; the attacker may pad with any.
    """
    defense = toll.defense.bind(calibrated.calibration, toll.pricing.puzzle)
    cell = honest.cell
    work = honest_work(
        defense,
        clean(honest.held_out()),
        accounting.adding_up(toll.cost),
        cell.settings.budget,
        cell.config["seed"],
        UtilityLoss(cell, honest.meter.victim).surcharge(),
        request_size=cell.settings.round_size,
    )
    attack = cell.config["attack"]
    return Billing(
        toll=defense,
        attacker=toll.pricing.attacker,
        honest=toll.pricing.honest,
        honest_work=work,
        surcharge=cell.stack.surcharge,
        evade=attack["evade"],
        patience_days=attack["patience_days"],
        at_hand=clean(honest.get()).filter(regex=f"_{toll.cost}$"),
    )
