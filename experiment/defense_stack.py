"""The stack of defenses that a config names: what changes answers, then what watches, then what charges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from experiment.keys import Config
from experiment.kinds import check_defenses, defense_class
from pow.calibration import LinearExpectation
from pow.pricing import Pricing, cheapest_hardware, make_pricing
from privacy.accountant import Accounting
from storage.options import instantiate
from victims.defenses.base import Charging, Defense, Kind, Perturbation, Watching

ORDER = get_args(Kind)

DOES = {"watches": "watch", "charges": "charge"}
"""Kinds of which a stack has one at most, and what only one can do."""


@dataclass(frozen=True, eq=False)
class Toll:
    """The defense that charges: bound once the expected cost of an honest user is known.

    `name` is its option's. `expected` is the published expectation, or None where it is to be measured on
    this victim.
    """

    name: str
    defense: Charging
    pricing: Pricing
    expected: LinearExpectation | None

    @property
    def cost(self) -> str:
        """The privacy measure that is charged."""
        return self.defense.cost


@dataclass(frozen=True, eq=False)
class Stack:
    """Defenses that change answers, in their order, one that watches and one that charges, if any."""

    perturbations: list[Perturbation]
    watching: Watching | None
    toll: Toll | None

    @property
    def surcharge(self) -> float:
        """What the toll of an account is multiplied by from its alarm on."""
        return self.watching.surcharge if self.watching and self.watching.at_alarm == "charge" else 1.0


def make_stack(config: Config, accounting: Mapping[str, Accounting]) -> Stack:
    """The stack of a resolved config; raises ValueError naming the option for what cannot work."""
    _check_order(config)
    made: dict[str, Defense] = {
        name: instantiate(node, f"defense.{name}") for name, node in config["defense"].items()
    }
    perturbations, watching, toll = [], None, None
    pricing = _equipped(make_pricing(config), config.get("attack", {}))
    for name, defense in made.items():
        match defense:
            case Perturbation():
                perturbations.append(defense)
            case Watching():
                watching = defense
                _check_watching(config, name, defense)
            case Charging():
                toll = Toll(name, defense, pricing, _published(defense, pricing, accounting))
                defense.bind(pricing.unexpected, pricing.puzzle)  # refused if an option is wrong
    if config["oracle"]["name"] == "http":
        _check_on_the_wire(made)
    return Stack(perturbations, watching, toll)


def _equipped(pricing: Pricing, attack: Config) -> Pricing:
    """The pricing with the cheapest hardware that an attacker has who evades the toll by all means."""
    if not attack.get("hardware_choices"):
        return pricing
    choice = cheapest_hardware(attack["hardware_choices"], pricing.puzzle)
    return replace(pricing, attacker=choice) if attack["evade"] == "best" else pricing


def _check_order(config: Config) -> None:
    check_defenses(config)
    classes = {name: defense_class(config, name) for name in config["defense"]}
    kinds = {name: each.kind for name, each in classes.items()}
    for kind, does in DOES.items():
        _check_single([name for name, own in kinds.items() if own == kind], does)
    _check_single([name for name, each in classes.items() if each.trains], "train a network")
    ordered = sorted(kinds, key=lambda name: ORDER.index(kinds[name]))
    if list(kinds) != ordered:
        raise ValueError(
            "defense names first what changes answers, then what watches the changed answers, and last what "
            f"charges: defense=[{','.join(ordered)}]"
        )


def _check_single(names: list[str], does: str) -> None:
    if len(names) > 1:
        raise ValueError(f"only one defense of a stack can {does}, and {', '.join(names)} all do")


def _check_watching(config: Config, name: str, watching: Watching) -> None:
    charges = any(defense_class(config, other).kind == "charges" for other in config["defense"])
    if watching.at_alarm == "charge" and not charges:
        raise ValueError(
            f"defense.{name}.at_alarm=charge multiplies a toll, so one must follow: defense=[{name},pow]"
        )


def _published(
    defense: Charging, pricing: Pricing, accounting: Mapping[str, Accounting]
) -> LinearExpectation | None:
    """The data set's published expectation, where it is of the cost that is charged."""
    pate = accounting.get("pate")
    applies = defense.cost == "pate" and pate is not None and pate.is_the_papers
    return pricing.published if applies else None


def _check_on_the_wire(made: Mapping[str, Defense]) -> None:
    for name, defense in made.items():
        if isinstance(defense, Watching):
            raise ValueError(f"defense.{name} watches in process only; choose oracle=in_process")
        if isinstance(defense, Perturbation) and not defense.repeats_itself:
            choice = "" if defense.remembers else "fixed noise, or "
            raise ValueError(
                f"defense.{name} answers the same image anew each time, and over HTTP answers are compared "
                f"with those of the victim at hand; choose {choice}oracle=in_process"
            )
