"""Pricing holds what a config says of prices: the calibration, the puzzle and the hardware."""

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

    Args:
        calibration: Makes the calibration from one argument, `expected`.
        published: The data set's published expectation, if there is one.
        users: Honest users to fit the calibration to, if it is a fitted one.
        puzzle: Puzzle that requests are paid with.
        attacker: Hardware of the attacker.
        honest: Hardware of an honest user.
    """

    calibration: Callable[..., Calibration]
    published: LinearExpectation | None
    users: HonestUsers | None
    puzzle: PuzzleSettings
    attacker: Hardware
    honest: Hardware


def make_pricing(config: Mapping[str, Any]) -> Pricing:
    """Make the pricing of a resolved config; raise ValueError, naming the option, for a wrong one."""
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
    """Set `reference_rate`, where it is None, to the reference client's hashes per second.

    Raises ValueError where the calibration has no such option but the puzzle needs it.
    """
    if "reference_rate" not in options:
        if puzzle.kind.memory_hard:
            raise ValueError(
                f"puzzle={puzzle.name}: this pow_calibration counts hashes of its authors' client, which "
                "computed SHA-1; choose puzzle=hashcash or sha256, or another pow_calibration"
            )
    elif options["reference_rate"] is None:
        reference: Hardware = instantiate(config["reference_client"], "reference_client")
        options["reference_rate"] = reference.rate(puzzle)
