"""How a config prices queries: its calibration, puzzle and hardware, all but the expectation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pow.calibration import Calibration, LinearExpectation
from pow.hardware import Hardware
from pow.honest_users import HonestUsers
from pow.puzzles.settings import PuzzleSettings
from storage.options import instantiate


@dataclass(frozen=True, eq=False)
class Pricing:
    """What a config says of prices.

    `calibration` is completed by an expectation, of which `published` is the data set's own, if any. `users`
    are those that a calibration is fitted to, if it is. `attacker` and `honest` are each side's
    hardware.
    """

    calibration: Callable[..., Calibration]
    published: LinearExpectation | None
    users: HonestUsers | None
    puzzle: PuzzleSettings
    attacker: Hardware
    honest: Hardware


def make_pricing(config: Mapping[str, Any]) -> Pricing:
    """The pricing of a resolved config; raises ValueError naming the option for what cannot work."""
    puzzle: PuzzleSettings = instantiate(config["puzzle"], "puzzle")
    options = dict(config["pow_calibration"])
    published, users = options.pop("expected"), options.pop("users", None)
    _set_reference_rate(options, config, puzzle)
    pricing = Pricing(
        calibration=instantiate(options, "pow_calibration"),
        published=LinearExpectation(**published) if published else None,
        users=instantiate(users, "pow_calibration.users"),
        puzzle=puzzle,
        attacker=instantiate(config["hardware"], "hardware"),
        honest=instantiate(config["honest_hardware"], "honest_hardware"),
    )
    pricing.calibration(expected=LinearExpectation(0.0, 0.0))  # refused if an option is wrong
    for hardware in (pricing.attacker, pricing.honest):
        hardware.rate(puzzle)  # refused if it has none
    return pricing


def _set_reference_rate(options: dict[str, Any], config: Mapping[str, Any], puzzle: PuzzleSettings) -> None:
    """Hashes a second of the client that seconds are meant for, where the calibration does not say."""
    if "reference_rate" not in options:
        if puzzle.kind.memory_hard:
            raise ValueError(
                f"puzzle={puzzle.name}: this pow_calibration counts hashes of its authors' client, which "
                "computed SHA-1; choose puzzle=hashcash or sha256, or another pow_calibration"
            )
    elif options["reference_rate"] is None:
        reference: Hardware = instantiate(config["reference_client"], "reference_client")
        options["reference_rate"] = reference.rate(puzzle)
