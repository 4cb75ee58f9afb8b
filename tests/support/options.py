"""The options of the config's groups, as the folders have them."""

from __future__ import annotations

from functools import cache

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from support.commands import ROOT

CONF = ROOT / "conf"
GROUPS = sorted(
    path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "local", "recipe")
)

MOUNTED = {"network": "network@victim", "gain": "+gain@pow_calibration.gains.further"}
"""Groups whose options are mounted elsewhere than at the group's name."""


def options(group: str) -> list[str]:
    """Names of a group's options; files with `_` in front only hold what options share."""
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("[!_]*.yaml"))


@cache  # several tests look at the same one, and change nothing
def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides])
