"""What the classes behind a config's options say of themselves: kinds of defenses, headings of measures."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal

from privacy.accountant import Accounting, HowCostsAdd
from storage.conf import CONF
from storage.identity import identify
from storage.options import instantiate
from storage.own import named_like_ours
from storage.typed import check_names
from victims.buckets import Buckets
from victims.defenses.base import Charging, Defense, Perturbation, Watching
from victims.measures.base import Measure, MeasuredVictim

MakeMeasure = Callable[[MeasuredVictim], Measure]
"""A measure with its options, for a victim that is trained later."""

MakeBuckets = Callable[[MeasuredVictim], Buckets]
"""The buckets of the feature space of a victim that is trained later."""

DEFENSE = "defense/"
"""How the stable ids of our defenses begin; their option's name follows."""

BASES = {
    Defense: "is no defense: its class must derive from Perturbation, Watching or Charging "
    "(victims/defenses/base.py)",
    Measure: "is no measure: its class must derive from Measure (victims/measures/base.py)",
}


def defense_class(config: Mapping[str, Any], name: str) -> type[Defense]:
    """The class of the defense `defense.<name>`; raises ValueError naming the option where it is none."""
    found: type[Defense] = _class_of(config["defense"][name]["_target_"], f"defense.{name}", Defense)
    return found


def measure_class(config: Mapping[str, Any], name: str) -> type[Measure]:
    """The class of the measure `privacy.measures.<name>`; raises ValueError naming the option."""
    node = config["privacy"]["measures"][name]
    found: type[Measure] = _class_of(node["_target_"], f"privacy.measures.{name}", Measure)
    return found


@cache
def _class_of(target: str, option: str, base: type[Defense] | type[Measure]) -> Any:
    """The class that `<option>._target_` names; raises ValueError unless it is a `base`."""
    try:
        found = pkgutil.resolve_name(str(target))
    except (ImportError, AttributeError, ValueError) as error:
        why = f"{error}{named_like_ours(str(target))}"
        raise ValueError(f"{option}._target_={target} cannot be imported: {why}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{option}._target_={target} {BASES[base]}")
    if missing := ", ".join(sorted(getattr(found, "__abstractmethods__", ()))):
        raise ValueError(f"{option}._target_={target} lacks {missing}, which its base class asks for")
    return found


def _is_a_defense(node: Mapping[str, Any]) -> bool:
    return identify(str(node.get("_target_"))).startswith(DEFENSE)


def check_defenses(config: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the option, unless every node of `defense` is a defense of some kind."""
    nodes = config["defense"]
    if not isinstance(nodes, dict):
        raise ValueError(f"defense must be a group of options, not {nodes!r}")
    for name, node in config.items():
        if isinstance(node, dict) and _is_a_defense(node) and not (CONF / name).is_dir():
            raise ValueError(f"{name} is a defense outside of `defense`, where none acts; leave out @{name}")
    flat = [name for name, node in nodes.items() if not isinstance(node, dict)]
    if flat:
        raise ValueError(
            "the first line of a defense's YAML must be `# @package defense.NAME`, NAME being the file's "
            f"own name: without it {', '.join(flat)} would be defenses"
        )
    for name, node in nodes.items():
        if "_target_" not in node:
            raise ValueError(f"defense.{name} needs a _target_, the name of its class")
        if not issubclass(defense_class(config, name), Perturbation | Watching | Charging):
            raise ValueError(f"defense.{name}._target_={node['_target_']} {BASES[Defense]}")
        own = identify(node["_target_"]).partition("@")[0]
        if own.startswith(DEFENSE) and own != DEFENSE + name and (CONF / "defense" / f"{name}.yaml").exists():
            raise ValueError(
                f"defense.{name} is the defense {own.removeprefix(DEFENSE)} by the name of another; "
                f"choose it by its own: defense={own.removeprefix(DEFENSE)}"
            )


def make_measures(config: Mapping[str, Any], images: int) -> dict[str, MakeMeasure]:
    """The measures of a resolved config, by name; raises ValueError naming the option.

    `images` is the number of the victim's training images.
    """
    made = {}
    for name, node in config["privacy"]["measures"].items():
        if "_target_" not in node:
            raise ValueError(f"privacy.measures.{name} needs a _target_, the name of its class")
        kind = measure_class(config, name)  # refused unless it is one
        check_names(node, f"privacy.measures.{name}", kind)
        made[name] = instantiate(node | {"_partial_": True}, f"privacy.measures.{name}")
        kind.check(f"privacy.measures.{name}", node, images)
    _check_teachers(config, made)
    return made


def make_buckets(config: Mapping[str, Any]) -> MakeBuckets:
    """The buckets of a resolved config; raises ValueError naming the option."""
    settings = instantiate(config["privacy"]["buckets"], "privacy.buckets")
    return lambda victim: Buckets(victim.network, victim.train, victim.hardware, settings)


def _check_teachers(config: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise ValueError where two measures would ask different teachers: a victim has one ensemble."""
    ensembles = {
        name: {option: config["privacy"]["measures"][name][option] for option in options}
        for name in names
        if (options := measure_class(config, name).teacher_options)
    }
    first, *others = ensembles.values() or [None]
    if any(other != first for other in others):
        raise ValueError(
            f"privacy.measures: {' and '.join(ensembles)} ask teachers with different options, and a victim "
            "has one ensemble; give them the same options, or leave out one measure"
        )


def measure_headings(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Label and format of each measure of a config, for result.json."""
    classes = {name: measure_class(config, name) for name in config["privacy"]["measures"]}
    return {name: {"label": each.label or name, "format": each.format} for name, each in classes.items()}


def accounting_of(plain: Mapping[str, Any]) -> dict[str, Accounting]:
    """How the costs of each measure with Gaussian noise add up."""
    privacy = plain["privacy"]
    for name, node in privacy["measures"].items():
        if not isinstance(node, dict):
            raise ValueError(
                f"privacy.measures.{name} must be a group of options with a _target_, not {node!r}"
            )
    return {
        name: Accounting(
            node["sigma"], node["delta"], _adding(plain, name), privacy["bound"], privacy["conversion"]
        )
        for name, node in privacy["measures"].items()
        if "sigma" in node
    }


def _adding(plain: Mapping[str, Any], measure: str) -> HowCostsAdd:
    """How the costs of a measure add up: all alike, or each as in the paper."""
    how: Literal[HowCostsAdd, "paired"] = plain["privacy"]["accounting"]
    return measure_class(plain, measure).paired if how == "paired" else how
