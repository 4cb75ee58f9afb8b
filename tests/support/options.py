"""The options of the config's groups, as the folders have them."""

from __future__ import annotations

from support.commands import ROOT


def options(group: str) -> list[str]:
    """Names of a group's options; files with `_` in front only hold what options share."""
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("[!_]*.yaml"))
