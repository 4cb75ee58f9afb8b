"""Goes through all options of a group, gives each what it cannot have, and looks whether that is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from storage.typed import MOST

Config = dict[str, Any]
Check = Callable[[str, Config], object]

GROUP = {"a": 1}
"""What no single value is."""

FREE = ("bits_slope", "bits_intercept", "slope", "intercept")
"""Numbers that may be below zero."""


def wrong_for(name: str, value: object) -> list[object]:
    """Values that an option cannot have whose value is this one."""
    match value:
        case bool():
            return ["wrong", 2, None, [1], GROUP]
        case int() | float():
            beyond = [] if name in FREE else [-1, -0.001]
            return ["wrong", True, math.nan, math.inf, 10 * MOST, [1], GROUP, *beyond]
        case str():
            return [5, -1.5, True, "", ["x"], GROUP]
        case list():
            return ["wrong", 5, GROUP]
        case _:
            return [math.nan, [[]]]


def leaves(node: Config, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Config, object]]:
    """Each option below a node: its path, the group that holds it, and its value."""
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, name))
        elif value != {}:
            yield (*path, name), node, value


def answer(check: Check, group: str, node: Config) -> str:
    """What is said of a group; nothing of one that is as it should be."""
    try:
        check(group, node)
    except ValueError as error:
        return str(error)
    return ""


def accepted(check: Check, group: str, node: Config, seen: set[tuple[object, ...]]) -> list[str]:
    """Go through a group.

    Args:
        check: Raises ValueError for a group with an option that is wrong.
        group: Its name.
        node: It, resolved; as before when this is done.
        seen: Options that are left out, and to which those of this group are added.

    Returns:
        What was accepted, or refused without the option's name.
    """
    wrongly = []
    for path, holder, value in leaves(node):
        where = (path[-1], holder["_target_"]) if "_target_" in holder else (group, path)
        if (*where, type(value)) in seen:
            continue
        seen.add((*where, type(value)))
        option = ".".join((group, *path))
        for wrong in wrong_for(path[-1], value):
            holder[path[-1]] = wrong
            said = answer(check, group, node)
            wrongly += [] if option in said else [f"{option}={wrong!r}: {said!r}"]
        holder[path[-1]] = value
    return wrongly
