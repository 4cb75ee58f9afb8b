"""Subcommands whose options are the config itself: Hydra composes it of the command line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands.parsing import packages_of
from storage.conf import CONF
from storage.own import keep_own_packages

if TYPE_CHECKING:
    from omegaconf import DictConfig

VALUED_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--experimental-rerun")
"""Hydra's flags whose value follows and may hold an equals sign."""

HOME = re.compile(r"""^(\+{0,2}[\w.@/]+=["']?)~(?=/|["']?$)""")
"""The beginning of an override whose value is a path in the user's home."""


def run_application(
    name: str, config_name: str, task: Callable[[DictConfig], object], arguments: Sequence[str]
) -> int:
    """Call the task with the config that Hydra composes; returns the exit code.

    Modules in the folder of the command are found, as an attack of one's own.

    Args:
        name: the subcommand, for messages.
        config_name: the file in conf/ that the config begins with.
        task: what is done with the config.
        arguments: overrides `key=value`, and Hydra's flags.
    """
    with packages_of("sweeps"):
        import hydra

        from commands.hydra_app.errors import readable_errors
        from experiment.naming import network_overrides
    keep_own_packages()
    sys.path.append(str(Path.cwd()))
    sys.argv = [f"tollgate {name}", *rewritten(network_overrides(arguments))]
    with readable_errors(CONF, config_name):
        hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(task)()
    return 0


def stay_here() -> None:
    """Go back to the folder of the command, where relative paths start, if hydra.job.chdir led away."""
    from hydra.core.hydra_config import HydraConfig

    os.chdir(HydraConfig.get().runtime.cwd)


def rewritten(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra takes them: overrides before flags, between which it takes none.

    A value that begins with ~/ lies in the user's home, which no shell says behind an equals sign.
    """
    arguments = [HOME.sub(lambda match: f"{match[1]}{Path.home()}", argument) for argument in arguments]
    places = list(zip(["", *arguments], arguments, strict=False))
    overrides = [argument for before, argument in places if _is_override(before, argument)]
    flags = [argument for before, argument in places if not _is_override(before, argument)]
    return [*overrides, *flags]


def _is_override(before: str, argument: str) -> bool:
    """Whether an argument is `key=value` or `~key`, given the one before it."""
    if argument.startswith("-") or before in VALUED_FLAGS:
        return False
    return "=" in argument or argument.startswith("~")
