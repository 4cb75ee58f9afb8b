"""The ledger that the `server` options name, what it counts, and the first account in it."""

from __future__ import annotations

from typing import Literal

from experiment.components import Cell
from experiment.keys import Config
from gate.api_keys import new_account
from gate.ledgers.base import Ledger
from gate.ledgers.open import open_ledger
from pow.calibration.progressive import ProgressiveCalibration
from storage.errors import InputError
from storage.store import identity_key

Totals = Literal["refuse", "new"]


def server_ledger(server: Config) -> Ledger:
    """The ledger; raises InputError naming the option where it cannot be opened as told."""
    try:
        return open_ledger(server["ledger"], server["synchronous"])
    except (ValueError, OSError) as error:
        raise InputError(f"server.ledger={server['ledger']}: {error}") from error


def counted_by(cell: Cell) -> str:
    """Words that tell what this cell's gate counts: by the victim, its measures, their accounting, the gains.

    Not the strength, nor other options that only price what is counted.
    """
    assert cell.toll is not None
    config, identity = cell.config, cell.identity
    counts = {"meter": identity.meter, "accounting": config["privacy"]["accounting"]}
    if isinstance(cell.toll.pricing.unexpected, ProgressiveCalibration):
        # What an honest query costs, by which a gain is measured, follows from the honest users' images.
        counts |= {"gains": identity.named["pow_calibration"]["gains"], "honest": identity.honest}
    else:
        counts |= {"cost": cell.toll.cost}
    name = f"{config['dataset']['name']}, {cell.toll.pricing.unexpected.name}"
    return f"{name}, {identity_key(counts)[:12]}"


def count_as_told(ledger: Ledger, cell: Cell) -> str:
    """Have the ledger count what the cell's gate counts, and return the words for it.

    Raises InputError where it counted something else and `server.totals` is not `new`.
    """
    server, counted = cell.config["server"], counted_by(cell)
    other = ledger.count_as(counted, anew=server["totals"] == "new")
    if other is not None:
        raise InputError(
            f"server.ledger={server['ledger']} holds what accounts asked of ({other}), and this is "
            f"({counted}); server.totals=new starts new totals beside those, another server.ledger keeps "
            "all apart"
        )
    return counted


def first_key(server: Config) -> str | None:
    """The key of the first account, where the ledger does not have that account yet."""
    ledger = server_ledger(server)
    try:
        return new_account(ledger, server["account"])
    except ValueError:
        return None
    finally:
        ledger.close()
