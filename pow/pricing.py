"""Pricing holds what a config says of prices: the calibration, the puzzle and the hardware."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

from pow.calibration import Calibration, LinearExpectation, LineCalibration
from pow.calibration.fitted import FittedCalibration
from pow.fitting import Bound, Terms, check_images
from pow.hardware import Hardware
from pow.honest_users import HonestUsers
from pow.population import Population
from pow.puzzles.settings import PuzzleSettings
from pow.requests import check_opening
from storage.conf import CONF
from storage.options import instantiate, settings
from storage.typed import BelowOne, check_names, check_types, check_values, found


@dataclass(frozen=True, eq=False)
class Pricing:
    """What a config says of prices.

    Args:
        calibration: Makes the calibration from one argument, `expected`, which only a LineCalibration heeds.
        published: The data set's published expectation, if there is one.
        users: Honest users to fit the exponential of `fitted` to, if that is what is chosen.
        population: Honest users as they are, whose bills are told.
        terms: What a progressive calibration is fitted by; None for the others.
        puzzle: Puzzle that requests are paid with.
        attacker: Hardware of the attacker.
        honest: Hardware of an honest user.
    """

    calibration: Callable[..., Calibration]
    published: LinearExpectation | None
    users: HonestUsers | None
    population: Population
    terms: Terms | None
    puzzle: PuzzleSettings
    attacker: Hardware
    honest: Hardware

    @property
    def unexpected(self) -> Calibration:
        """The calibration before anything is known of honest users."""
        return self.calibration(expected=LinearExpectation(0.0, 0.0))

    def check_honest(self, images: int) -> None:
        """Raise ValueError where there are too few images of honest users, or too few users."""
        check_images(images)
        unfitted = self.unexpected
        if isinstance(unfitted, FittedCalibration) and self.users is not None:
            unfitted.rank_of(self.users.count)

    def check_account(self, seconds: float) -> None:
        """Raise ValueError for a price of an account, in seconds, that no puzzle can ask for."""
        check_opening(self.unexpected, self.puzzle, seconds)


GROUPS = (
    *("pow_calibration", "honest_users", "puzzle", "dataset"),
    *("hardware", "honest_hardware", "reference_client"),
)
"""The groups of the config that say what a trace costs."""


def composed_groups(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the config outside an application, and return what of it says what a trace costs, resolved.

    Under `bills` stands each hardware that an override adds there. Raises HydraException for an override that
    the config does not take.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("config", list(overrides))
    plain = {name: OmegaConf.to_container(config[name], resolve=True) for name in GROUPS}
    return plain | {"bills": OmegaConf.to_container(config.get("bills", OmegaConf.create()), resolve=True)}


class FitOptions(TypedDict):
    """What a calibration is fitted by, which is no argument of its class."""

    users: HonestUsers | None
    bounds: dict[str, Bound]
    within_allowance: BelowOne


MEASURED = ("expected", "reference_rate", "allowance", "steepness")
"""Options of a calibration that are null until they are measured, fitted or taken from another group."""


def check_calibration(node: Mapping[str, Any]) -> None:
    """Check each option of `pow_calibration` by itself; raises ValueError naming the option."""
    _kind(node)
    of_the_fit = {name: value for name, value in node.items() if name in FitOptions.__annotations__}
    check_values(of_the_fit, "pow_calibration", FitOptions)
    unknown = {name for name in MEASURED if node.get(name) is None}
    check_types({name: node[name] for name in node if name not in {*of_the_fit, *unknown}}, "pow_calibration")


def check_puzzle(node: Mapping[str, Any]) -> None:
    """Check each option of `puzzle` by itself; raises ValueError naming the option."""
    check_types(node, "puzzle")
    kind, options = node.get("kind"), node.get("options")
    if kind is not None and options:
        check_values(options, "puzzle.options", found(kind, "puzzle.kind"))


def make_pricing(config: Mapping[str, Any]) -> Pricing:
    """Make the pricing of a resolved config; raise ValueError, naming the option, for a wrong one."""
    puzzle: PuzzleSettings = instantiate(config["puzzle"], "puzzle")
    options = dict(config["pow_calibration"])
    published, users = options.pop("expected", None), options.pop("users", None)
    terms = _terms(options)
    pricing = Pricing(
        calibration=_calibration(options, puzzle, config),
        published=_published(published),
        users=instantiate(users, "pow_calibration.users"),
        population=instantiate(config["honest_users"], "honest_users"),
        terms=terms,
        puzzle=puzzle,
        attacker=instantiate(config["hardware"], "hardware"),
        honest=instantiate(config["honest_hardware"], "honest_hardware"),
    )
    pricing.calibration(expected=LinearExpectation(0.0, 0.0))  # refused if an option is wrong
    pricing.attacker.rate(puzzle, "hardware")  # refused if it has none
    pricing.honest.rate(puzzle, "honest_hardware")
    return pricing


def _published(node: Any) -> LinearExpectation | None:
    """The data set's published expectation, if there is one."""
    return None if node is None else settings(LinearExpectation, node, "pow_calibration.expected")


def cheapest_hardware(names: Sequence[str], puzzle: PuzzleSettings) -> Hardware:
    """Return the hardware of some files of conf/hardware that solves a puzzle for the fewest USD.

    Raises ValueError where there is no such file, or none of them has a rate for the puzzle.
    """
    option = "attack.hardware_choices"
    all_of_them = [named_hardware(name, option) for name in names]
    able = [each for each in all_of_them if puzzle.name in each.hashes_per_second]
    if not able:
        raise ValueError(f"{option}: none of {', '.join(names)} has a hash rate for puzzle={puzzle.name}")
    return min(able, key=lambda each: each.usd_per_hour / each.rate(puzzle))


def named_hardware(name: str, option: str) -> Hardware:
    """Return the hardware of a file of conf/hardware; raise ValueError, naming `option`, without one."""
    from omegaconf import OmegaConf

    folder = CONF / "hardware"
    if not (isinstance(name, str) and (folder / f"{name}.yaml").is_file()):
        valid = ", ".join(sorted(path.stem for path in folder.glob("[!_]*.yaml")))
        raise ValueError(f"{option} must name {valid}, not {name!r}")
    both = [OmegaConf.load(folder / f"{file}.yaml") for file in ("_base", name)]
    node = OmegaConf.to_container(OmegaConf.merge(*both))
    assert isinstance(node, dict)
    node.pop("defaults")
    hardware: Hardware = instantiate(node, option)
    return hardware


def _terms(options: dict[str, Any]) -> Terms | None:
    """Takes out of the options of a calibration with bounds what a fit needs, and what is to be fitted."""
    if "bounds" not in options:
        return None
    bounds = instantiate(options.pop("bounds"), "pow_calibration.bounds")
    given = {name: options.pop(name) for name in ("allowance", "steepness") if options.get(name) is None}
    return Terms(tuple(bounds.values()), options.pop("within_allowance"), fits=tuple(given))


def _kind(node: Mapping[str, Any]) -> type[Calibration]:
    """The class that a calibration's options name; raises ValueError for what is none."""
    target = node.get("_target_")
    kind = found(target, "pow_calibration._target_")
    if not (isinstance(kind, type) and issubclass(kind, Calibration) and hasattr(kind, "name")):
        raise ValueError(
            f"pow_calibration._target_={target} must be a class that derives from Calibration "
            "(pow/calibration/base.py) and has a name"
        )
    if missing := ", ".join(sorted(kind.__abstractmethods__)):
        raise ValueError(f"pow_calibration._target_={target} lacks {missing}, which Calibration asks for")
    return kind


def _calibration(
    options: Mapping[str, Any], puzzle: PuzzleSettings, config: Mapping[str, Any]
) -> Callable[..., Calibration]:
    """The calibration but for its expectation; seconds are the reference client's where it does not say."""
    told = {name: value for name, value in options.items() if (name, value) != ("reference_rate", None)}
    made = instantiate({**told, "_partial_": True}, "pow_calibration")
    kind = _kind(options)
    check_names(told, "pow_calibration", kind)
    if kind.own_client:
        _check_own_client(puzzle)
    elif options.get("reference_rate") is None:
        reference: Hardware = instantiate(config["reference_client"], "reference_client")
        made = partial(made, reference_rate=reference.rate(puzzle, "reference_client"))
    return made if issubclass(kind, LineCalibration) else lambda expected: made()


def _check_own_client(puzzle: PuzzleSettings) -> None:
    if puzzle.kind.memory_hard:
        raise ValueError(
            f"puzzle={puzzle.name}: this pow_calibration counts hashes of its authors' client, which "
            "computed SHA-1; choose puzzle=hashcash or sha256, or another pow_calibration"
        )
