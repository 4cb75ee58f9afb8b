"""Subcommands whose options are the config itself: Hydra composes it of the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands.parsing import packages_of
from storage.conf import CONF

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run_application(
    name: str, config_name: str, task: Callable[[DictConfig], None], arguments: Sequence[str]
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

        from commands.errors import readable_errors
        from experiment import naming
    naming.register()
    sys.path.append(str(Path.cwd()))
    sys.argv = [f"tollgate {name}", *rewritten(arguments)]
    with readable_errors(CONF, config_name):
        hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(task)()
    return 0


def rewritten(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra takes them; shorter ways to write an override are spelled out here."""
    return list(arguments)
