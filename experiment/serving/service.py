"""What the gate promises its clients, and what it charges them."""

from __future__ import annotations

from experiment.artifacts.honest_users import HonestCosts
from experiment.artifacts.metering import VictimMeter
from experiment.artifacts.victim import ServedVictim
from experiment.components import Cell
from experiment.defense_stack import Toll
from experiment.naming import stack_name
from experiment.pricing.calibrating import calibrate
from experiment.pricing.curve import TraceAccounting
from gate.gate import Service
from gate.ledgers.base import Limits
from pow.pricing import named_hardware
from storage.errors import InputError


def served_toll(cell: Cell) -> Toll:
    """The toll that the gate charges; raises InputError for defenses that it cannot serve."""
    if cell.toll is None:
        name = stack_name(cell.config["defense"])
        raise InputError(f"defense={name} asks for no work, so there is nothing to serve; choose defense=pow")
    if cell.stack.watching is not None:
        raise InputError("the gate watches no accounts; leave out of defense what has an at_alarm")
    server, classes = cell.config["server"], cell.data.train.num_classes
    if server["answers"] == "topk" and server["top_k"] > classes:
        raise InputError(f"server.top_k={server['top_k']} is more than the {classes} classes")
    options = f"defense.{cell.toll.name}"
    if cell.config["defense"][cell.toll.name].get("scope") == "subnet":
        raise InputError(f"{options}.scope=subnet has no meaning over HTTP; choose account or global")
    try:
        _slowest_rate(cell, cell.toll)
    except ValueError as error:
        raise InputError(str(error)) from error
    if cell.config["server"]["open_accounts"]:
        _check_account_price(cell, cell.toll)
    return cell.toll


def _check_account_price(cell: Cell, toll: Toll) -> None:
    seconds = _account_seconds(cell, toll)
    if not seconds > 0:
        option = f"defense.{toll.name}.account_seconds"
        raise InputError(f"server.open_accounts=true needs the price of an account, {option}")
    try:
        toll.pricing.check_account(seconds)
    except ValueError as error:
        raise InputError(f"server.{error}") from error


def _account_seconds(cell: Cell, toll: Toll) -> float:
    return float(cell.config["defense"][toll.name].get("account_seconds", 0.0))


def make_service(cell: Cell, victim: ServedVictim, counted: str) -> Service:
    """The service of the cell's `server` options, with the toll calibrated to the victim.

    `counted` tells what its ledger counts.

    Raises InputError naming the option for what cannot be served.
    """
    toll, server = served_toll(cell), cell.config["server"]
    honest = HonestCosts(cell, VictimMeter(cell, victim))
    calibrated = calibrate(toll, honest, TraceAccounting(cell.accounting), cell.config["seed"])
    scope = cell.config["defense"][toll.name].get("scope", "account")
    try:
        return Service(
            image_shape=cell.data.train.image_shape,
            classes=cell.data.train.num_classes,
            calibration=calibrated.calibration,
            puzzle=toll.pricing.puzzle,
            answers=server["answers"],
            top_k=server["top_k"],
            limits=Limits(server["pending"], server["requests_a_minute"]),
            lifetime=server["lifetime"],
            slowest_rate=_slowest_rate(cell, toll),
            spread=server["spread"],
            counted=counted,
            open_accounts=server["open_accounts"],
            account_seconds=_account_seconds(cell, toll),
            openings=server["openings"],
            payer=str if scope == "account" else _everyone,
            class_names=_names(cell.data.train.class_names),
        )
    except ValueError as error:
        raise InputError(f"server.{error}") from error


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The classes' names, where they say more than their numbers, and can be shown."""
    numbered = names == tuple(map(str, range(len(names))))
    return () if numbered or not all(map(str.isprintable, names)) else names


def _slowest_rate(cell: Cell, toll: Toll) -> float:
    option = "server.slowest_device"
    return named_hardware(cell.config["server"]["slowest_device"], option).rate(toll.pricing.puzzle, option)


def _everyone(account: str) -> str:
    return "everyone"
