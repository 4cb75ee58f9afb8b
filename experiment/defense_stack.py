"""The stack of defenses that a config names: what changes answers, then what watches, then what charges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from experiment.keys import Config, is_toll, is_watch
from pow.calibration import LinearExpectation
from pow.pricing import Pricing, make_pricing
from privacy.accountant import Accounting
from storage.options import instantiate
from victims.defenses.base import Perturbation, Watching
from victims.defenses.pow import ProofOfWork


@dataclass(frozen=True, eq=False)
class Toll:
    """The defense that charges: completed once the expected cost of an honest user is known.

    `expected` is the published expectation, or None where it is to be measured on this victim.
    """

    defense: Callable[..., ProofOfWork]
    pricing: Pricing
    expected: LinearExpectation | None
    cost: str


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
    nodes = config["defense"]
    _check_order(nodes)
    made = {name: instantiate(node, f"defense.{name}") for name, node in nodes.items()}
    tolls = [name for name, node in nodes.items() if is_toll(node)]
    watches = [name for name, node in nodes.items() if is_watch(node)]
    pricing = make_pricing(config)
    stack = Stack(
        perturbations=[defense for name, defense in made.items() if name not in (*tolls, *watches)],
        watching=made[watches[0]] if watches else None,
        toll=_toll(tolls[0], made[tolls[0]], config, pricing, accounting) if tolls else None,
    )
    if stack.watching is not None and stack.watching.at_alarm == "charge" and stack.toll is None:
        raise ValueError(
            f"defense.{watches[0]}.at_alarm=charge multiplies a toll, so one must follow: "
            f"defense=[{watches[0]},pow]"
        )
    if config["oracle"]["name"] == "http":
        _check_on_the_wire(made, watches)
    return stack


def _check_order(nodes: Config) -> None:
    kinds = [2 if is_toll(node) else 1 if is_watch(node) else 0 for node in nodes.values()]
    for kind, does in ((1, "watch"), (2, "charge")):
        if kinds.count(kind) > 1:
            names = ", ".join(name for name, own in zip(nodes, kinds, strict=True) if own == kind)
            raise ValueError(f"only one defense of a stack can {does}, and {names} all do")
    if kinds != sorted(kinds):
        ordered = ",".join(
            name for _, name in sorted(zip(kinds, nodes, strict=True), key=lambda pair: pair[0])
        )
        raise ValueError(
            "defense names first what changes answers, then what watches the changed answers, and last what "
            f"charges: defense=[{ordered}]"
        )


def _toll(
    name: str,
    complete: Callable[..., ProofOfWork],
    config: Config,
    pricing: Pricing,
    accounting: Mapping[str, Accounting],
) -> Toll:
    cost = config["defense"][name]["cost"]
    pate = accounting.get("pate")
    applies = cost == "pate" and pate is not None and pate.is_the_papers
    unfitted = pricing.calibration(expected=LinearExpectation(0.0, 0.0))
    complete(calibration=unfitted, puzzle=pricing.puzzle)  # refused if an option is wrong
    return Toll(complete, pricing, pricing.published if applies else None, cost)


def _check_on_the_wire(made: Mapping[str, object], watches: list[str]) -> None:
    for name in watches:
        raise ValueError(f"defense.{name} watches in process only; choose oracle=in_process")
    for name, defense in made.items():
        if not getattr(defense, "repeats_itself", True):
            raise ValueError(
                f"defense.{name} answers the same image anew each time, and over HTTP answers are compared "
                "with those of the victim at hand; choose fixed noise, or oracle=in_process"
            )
