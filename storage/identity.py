"""Stable ids: how a key names code, so that a file that moves orphans nothing in the store."""

from __future__ import annotations

import inspect
import pkgutil
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from storage.files import file_hash

Named = TypeVar("Named", bound=Callable[..., Any])


def stable_id(name: str) -> Callable[[Named], Named]:
    """Decorator: the class or function enters keys as `name` (`attack/knockoff`), wherever its file lies.

    A name is for ever: another one, or the same one for something else, orphans what the store holds. It is
    not inherited, so a subclass is taken for what it is, an object of its own. Behind `@` stands a version,
    `defense/mad@2`: it is raised when the same options come to mean other results, so that what the store
    holds of the former ones is not taken for them.
    """

    def named(target: Named) -> Named:
        setattr(target, "stable_id", name)  # noqa: B010 - a function has no such attribute for mypy
        return target

    return named


@cache
def identify(path: str) -> str:
    """The id of what lies at a dotted path: its own stable id, or the path where it has none.

    Behind the path of code that is not installed stands a hash of its file: it is still being written, and
    what an earlier version made is not taken for what this one would make. A path that leads to nothing is
    its own id; whoever instantiates it says what is wrong.
    """
    try:
        target = pkgutil.resolve_name(path)
        found = vars(target)
    except (ImportError, AttributeError, ValueError, TypeError):
        return path
    # functools.wraps copies attributes, so what is wrapped would be taken for the original.
    if "stable_id" in found and "__wrapped__" not in found:
        return str(found["stable_id"])
    return path + _version(target)


def _version(target: Any) -> str:
    """`@` and a hash of the file that defines a class or function; nothing for what is installed."""
    try:
        file = Path(inspect.getfile(target))
        is_installed = "site-packages" in file.parts or sysconfig.get_path("stdlib") in map(str, file.parents)
        return "" if is_installed else f"@{file_hash(file)[:12]}"
    except (OSError, TypeError):
        return ""


def identified(node: Any) -> Any:
    """A copy of a config's node whose `_target_`s are ids instead of paths, as keys hold them."""
    if isinstance(node, dict):
        return {
            key: identify(value) if key == "_target_" and isinstance(value, str) else identified(value)
            for key, value in node.items()
        }
    return [identified(value) for value in node] if isinstance(node, list) else node
