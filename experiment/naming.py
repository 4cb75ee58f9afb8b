"""What configs and the command line say by name: ${...:...} in YAML, and networks by the part they play.

A sweep's folder has the same name for the same command, so that giving it again resumes the sweep.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from omegaconf import Container, DictConfig, OmegaConf

WITHOUT_A_SAY = ("paths.", "logger=", "logger.")
"""Overrides that change where results go, not what they are."""

BETWEEN_VALUES = re.compile(r""",(?![^\[]*\])(?![^{]*\})(?![^(]*\))(?=(?:[^'"]*['"][^'"]*['"])*[^'"]*$)""")
"""The commas of a sweep: not those within brackets or quotes."""


def sweep_name(overrides: Sequence[str]) -> str:
    """What the sweep is of, cut short, and a hash of all its overrides, whose order does not matter."""
    telling = sorted(override for override in overrides if not override.startswith(WITHOUT_A_SAY))
    digest = hashlib.sha256("\n".join(map(_in_any_order, telling)).encode()).hexdigest()[:8]
    words = re.sub(r"[^\w=.+-]+", "_", "_".join(telling)).strip("_")
    return f"{words[:60].rstrip('_.') or 'sweep'}-{digest}"


def _in_any_order(override: str) -> str:
    """The override with the values that it sweeps over sorted; commas in brackets and quotes are no sweep."""
    name, _, values = override.partition("=")
    return f"{name}={','.join(sorted(BETWEEN_VALUES.split(values)))}"


def stack_name(defenses: Iterable[str]) -> str:
    """The defenses of a stack by their names, `rounding+pow` say, and `none` of an empty one."""
    return "+".join(defenses) or "none"


def as_substitute(substitute: object, elsewhere: object, *, _parent_: Container) -> object:
    """The first value where a network is the substitute, the second where it is a victim or a teacher."""
    return substitute if _parent_._get_full_key("").startswith("substitute.") else elsewhere


def options(group: str, *without: str, _root_: DictConfig) -> str:
    """The options of a config group, by commas, along Hydra's whole search path but for those named.

    Files whose names begin with `_` hold lines that options share. They are no options themselves.
    """
    return ",".join(name for name in _listed(group, ObjectType.CONFIG, _root_) if name not in without)


def option_lists(*, _root_: DictConfig) -> str:
    """Every config group but Hydra's own with its options, a line each."""
    lists = {group: _listed(group, ObjectType.CONFIG, _root_) for group in _groups("", _root_)}
    return "\n".join(f"{group}: {', '.join(names)}" for group, names in lists.items() if names)


def _groups(parent: str, root: DictConfig) -> list[str]:
    """The paths of the config groups in a group, and of those in them."""
    paths = [f"{parent}/{name}".lstrip("/") for name in _listed(parent, ObjectType.GROUP, root)]
    return [group for path in paths if path != "hydra" for group in (path, *_groups(path, root))]


def _listed(group: str, kind: ObjectType, root: DictConfig) -> list[str]:
    """What lies in a group, given the whole config, which may lengthen the search path."""
    hydra, loader = root.hydra, GlobalHydra.instance().config_loader()
    names = loader.get_group_options(group, kind, hydra.job.config_name, list(hydra.overrides.hydra))
    return sorted(name for name in names if not name.startswith("_"))


def network_overrides(arguments: Sequence[str]) -> list[str]:
    """The command line's arguments, with `victim=NAME` and `substitute=NAME` as Hydra knows them.

    Both choose an option of the group `network`, so they become `network@victim=NAME` and
    `network@substitute=NAME`. Values that are no names, such as `victim={seed: 3}`, stay as they are.
    """
    return [re.sub(r"^(?=(victim|substitute)=\w)", "network@", argument) for argument in arguments]


def register() -> None:
    """Make the functions available in configs, as ${sweep_name:...}, ${options:...} and so on."""
    for resolver in (as_substitute, options, option_lists):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    OmegaConf.register_new_resolver("stack", stack_name, replace=True)
    # Cached: the jobs of a sweep have overrides of their own and must find the sweep's folder.
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True, use_cache=True)
