"""Options of a defense in a grid that also has cells without it: `defense=none,pow defense.pow.scope=...`."""

from __future__ import annotations

import re
from collections.abc import Sequence

OF_A_DEFENSE = re.compile(r"\+{0,2}defense\.(?P<name>\w+)\.[^=]+=")
CHOICE = re.compile(r"defense=\[?(?P<names>[\w, ]+)\]?")


def without_absent_defenses(jobs: Sequence[Sequence[str]]) -> list[list[str]]:
    """The overrides of each cell, without the options of defenses that only other cells have.

    An option of a defense that no cell has stays, and is refused when its cell is composed.
    """
    chosen = [_chosen(overrides) for overrides in jobs]
    somewhere = set().union(*(names for names in chosen if names is not None))
    return [
        list(overrides) if names is None else [it for it in overrides if not _is_of(it, somewhere - names)]
        for overrides, names in zip(jobs, chosen, strict=True)
    ]


def _chosen(overrides: Sequence[str]) -> set[str] | None:
    """The defenses that a cell's overrides choose; None where they choose none by name."""
    found = [match for override in overrides if (match := CHOICE.fullmatch(override))]
    return {name.strip() for name in found[-1]["names"].split(",")} if found else None


def _is_of(override: str, defenses: set[str]) -> bool:
    """Whether an override is an option of one of the defenses."""
    match = OF_A_DEFENSE.match(override)
    return match is not None and match["name"] in defenses
